"""From ports to sockets."""
