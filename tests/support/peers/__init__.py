"""Clients of other makers, as programs of their own.

Each is started with a URL and a cookie. It reports what happens as lines of JSON: `{"open":
true}` or `{"refused": status}`, then `{"text": ...}` for each message, `{"pong": ...}` for
each answer to a ping, and last `{"closed": [code, reason]}`. It does what lines of JSON say:
`{"ping": payload}`, `{"fragments": [text, ...]}`, `{"close": [code, reason]}`.
"""
