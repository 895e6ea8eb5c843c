"""The command line of `gaq-ws`, without what its commands do."""
