"""The demo: the real server with a Valkey of its own, and a page that shows events arrive."""

from gaq_twisted.tools.demo.service import make_demo, make_page

__all__ = ["make_demo", "make_page"]
