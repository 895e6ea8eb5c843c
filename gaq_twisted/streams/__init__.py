"""The protocol of Superset 1.2 to 6.1: Redis streams."""
