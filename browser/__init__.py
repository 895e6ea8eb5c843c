"""The server as real browsers meet it: checks with a headless Chromium."""
