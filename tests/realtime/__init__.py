"""Tests of gaq_twisted.realtime, without processes."""
