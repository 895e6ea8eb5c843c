"""Tests of the simulated Node.js servers."""
