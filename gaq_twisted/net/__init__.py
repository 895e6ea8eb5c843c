"""Listeners, HTTP requests and WebSockets."""
