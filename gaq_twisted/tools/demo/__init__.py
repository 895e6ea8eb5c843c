"""The demo: the real server on a Valkey of its own, with a page to watch events arrive."""

from gaq_twisted.tools.demo.service import make_demo, make_page

__all__ = ["make_demo", "make_page"]
