"""Exits with 0 if the server in this container answers its health check.

It finds the port as the server does. Where the settings have `listen`, another check
is needed: docker run --health-cmd.
"""

import os
from pathlib import Path
from urllib.request import urlopen

from gaq_twisted.config.load import load

FILE = Path("config.json")
PATIENCE_SECONDS = 4.0

settings, *_ = load(FILE if FILE.exists() else None, os.environ)
url = f"http://127.0.0.1:{settings.port}{settings.base_path}/health"
with urlopen(url, timeout=PATIENCE_SECONDS):
    pass
