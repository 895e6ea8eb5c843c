"""The command `gaq-ws-load`: an operator's load test, which knows exactly what was lost."""
