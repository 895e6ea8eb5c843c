"""Authentication, and allowed origins."""
