"""HTTP answers."""
