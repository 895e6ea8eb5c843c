"""Tests of gaq_twisted.streams, without processes."""
