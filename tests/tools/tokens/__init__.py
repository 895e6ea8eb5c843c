"""Tests of `gaq-ws token`."""
