"""Tests of the check's pure rooms."""
