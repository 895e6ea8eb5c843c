"""What can be set, and loading it."""
