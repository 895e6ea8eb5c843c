"""The command `gaq-ws load`: a load test that counts exactly what was lost."""
