"""Tests of gaq_twisted.redis, without a Redis."""
