"""Tests with real processes: Redis, the server, clients of other makes."""
