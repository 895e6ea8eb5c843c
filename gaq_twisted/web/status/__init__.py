"""The status page: what the server does now and did in the last ten minutes."""
