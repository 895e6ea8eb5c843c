"""Further commands, which no other folder imports."""
