"""Sockets, metrics and rejections, independent of any protocol."""
