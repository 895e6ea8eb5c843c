"""Tests of gaq_twisted.net, without processes."""
