"""Commands beside the server; nothing imports them."""
