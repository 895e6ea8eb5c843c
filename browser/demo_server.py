"""The demo's page on the server and the Redis that the environment describes.

For `twistd --python`. Unlike `gaq-ws --demo`, which has a secret and a Redis of its
own, it can be ended and started again.
"""

import os
from typing import cast

from twisted.application.service import Application
from twisted.internet import reactor

from gaq_twisted.config.load import load
from gaq_twisted.server import Additions
from gaq_twisted.service import ServerReactor, make_server
from gaq_twisted.tools.demo import make_page

settings, *_ = load(None, os.environ)
application = Application("gaq-ws with the demo's page")
server_reactor = cast(ServerReactor, reactor)
additions = Additions(resources={b"demo": make_page(settings, server_reactor)})
make_server(settings, server_reactor, additions=additions).setServiceParent(application)
