"""Tests of gaq_twisted.ops, without processes."""
