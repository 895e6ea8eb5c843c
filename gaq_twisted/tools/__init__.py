"""Commands beside the server, which no other folder imports."""
