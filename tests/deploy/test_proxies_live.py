"""The examples of `deploy/nginx` and `deploy/haproxy`, run by the real proxies.

They need Debian's nginx and haproxy: `make test-deploy` installs them.
"""

import re

from tests.support import proxies
from tests.support.processes import Server, environment, wait_until


class NginxTests(proxies.HttpChecks):
    """With nginx."""

    kind = proxies.Nginx
    idle_limit = {"proxy_read_timeout 60s": "proxy_read_timeout 1s"}


class HaproxyTests(proxies.HttpChecks):
    """With HAProxy."""

    kind = proxies.Haproxy
    idle_limit = {"timeout tunnel 60s": "timeout tunnel 1s"}

    def test_not_ready(self) -> None:
        """A server that has lost Redis gets no new connections, and gets them again after."""
        proxy = self.proxy(self.server())
        self.assertEqual(proxy.status("/ws"), 404)
        self.redis.kill()
        wait_until(lambda: proxy.status("/ws") == 503, proxy.program.text)
        self.redis.start()
        wait_until(lambda: proxy.status("/ws") == 404, proxy.program.text)


class ProxyProtocolTests(proxies.IdleChecks):
    """With HAProxy that speaks the PROXY protocol."""

    kind = proxies.ProxyProtocol
    idle_limit = {
        "timeout client 60s": "timeout client 1s",
        "timeout server 60s": "timeout server 1s",
    }

    def server(self, **values: str) -> Server:
        """Return a server that wants the PROXY protocol."""
        environ = environment(self.redis.port, LOG_LEVEL="debug", **values)
        environ["LISTEN"] = f"haproxy:tcp:{environ['PORT']}:interface=127.0.0.1"
        server = Server(self, environ)
        server.wait_for_text("following the global stream")
        return server

    def test_client_address(self) -> None:
        """The log knows the client, though no header names it."""
        server = self.server()
        self.check_delivery(self.connect(self.proxy(server), "/"))
        joined = [line for line in server.text().splitlines() if "joined channel" in line]
        self.assertEqual(len(joined), 1)
        self.assertTrue(
            re.search(rf"\b{re.escape(proxies.CLIENT_ADDRESS)}\b", joined[0]), joined[0]
        )
