"""Who listens, what is counted, who is rejected; knows no protocol."""
