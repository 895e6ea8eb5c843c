"""The command `gaq-ws token`: new cookies to connect by hand, and what existing ones contain."""
