"""Tests of gaq_twisted.config, without processes."""
