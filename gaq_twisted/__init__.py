"""Pushes Apache Superset's background-query events to browsers over WebSocket."""

__all__ = ["__version__"]

__version__ = "0.1.0"
"""The release; the one place that names it."""
