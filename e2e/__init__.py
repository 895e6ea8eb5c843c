"""The server under a real Superset, its worker, Valkey and a real browser: `make e2e`."""
