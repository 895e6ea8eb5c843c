"""Tests of gaq_twisted.core, without processes."""
