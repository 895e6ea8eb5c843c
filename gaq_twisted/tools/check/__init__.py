"""The command `--check`: checks whether the server would work, and says what to do if not."""
