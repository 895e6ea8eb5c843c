"""Reaching Redis; knows nothing of Superset."""
