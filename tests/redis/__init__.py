"""Tests of reaching Redis that need no Redis."""
