"""Pushes Apache Superset's background-query events to browsers over WebSocket."""

__all__: list[str] = []
