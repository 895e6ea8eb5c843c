"""The command `--check`."""
