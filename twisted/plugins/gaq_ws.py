"""Announces the `gaq-ws` command; every run of twistd may import this file, so it stays small."""

from twisted.application.service import ServiceMaker

gaq_ws = ServiceMaker(
    "gaq-ws",
    "gaq_twisted.tap",
    "Pushes Apache Superset's background-query events to browsers over WebSocket.",
    "gaq-ws",
)
