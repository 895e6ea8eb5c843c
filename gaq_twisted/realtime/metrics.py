"""The metrics of the realtime protocol."""
