"""Running and stopping the process."""
