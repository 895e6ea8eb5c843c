"""Tests of the load test's pure rooms."""
