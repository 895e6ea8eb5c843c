"""The protocol of Superset 7: messages with routes on one Redis Pub/Sub channel."""
