"""Superset's Node.js servers, simulated from their documented behaviour."""
