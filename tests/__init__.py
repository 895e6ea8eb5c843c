"""Tests: a folder for each folder of the package, `live` with real processes, `support` for all."""
