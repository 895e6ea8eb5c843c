"""Tests of gaq_twisted.web.status, without processes."""
