"""Tests of gaq_twisted.tools, without processes."""
