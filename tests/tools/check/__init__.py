"""Tests of gaq_twisted.tools.check, without processes."""
