"""Tests of gaq_twisted.web, without processes."""
