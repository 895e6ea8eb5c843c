"""The command `--check`: whether the server would work, and what to do if not."""
