"""Tests of what is in deploy/, with the programs that it is for."""
