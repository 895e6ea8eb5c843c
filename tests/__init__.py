"""Tests of gaq_twisted: a module for each module of it, and some for the whole."""
