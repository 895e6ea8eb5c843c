"""The status page: the state and the last ten minutes of the server."""
