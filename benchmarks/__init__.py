"""How fast the server is: loads, a load generator, and a report."""
