"""The demo: the real server with its own Valkey, and a page that shows arriving events."""

from gaq_twisted.tools.demo.service import make_demo, make_page

__all__ = ["make_demo", "make_page"]
