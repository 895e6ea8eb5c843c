"""Tests of gaq_twisted.access, without processes."""
