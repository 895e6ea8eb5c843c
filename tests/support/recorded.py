"""What a real Superset, its Node.js server and a browser wrote; see wire-samples.json."""

import json
from pathlib import Path
from typing import Any

import jwt

from tests.support.samples import SECRET

WIRE_SAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "wire-samples.json").read_text())


def browser_request(channel: str, last_id: str | None = None) -> bytes:
    """Return the upgrade request that a browser sent to the server, with a cookie of the tests.

    Args:
        channel: the channel that the cookie names.
        last_id: what the URL's query names; None for no query.
    """
    first, *lines = WIRE_SAMPLES["upgrade_request_of_the_browser"]
    target = "/" if last_id is None else f"/?last_id={last_id}"
    recorded = WIRE_SAMPLES["cookie_of_an_anonymous_user"]
    claims = {**recorded["claims"], "channel": channel}
    signed = jwt.encode(claims, SECRET, headers=recorded["header"])
    request = "\r\n".join([first.replace("/?last_id=1795406268211-0", target), *lines, "", ""])
    request = request.replace("<jwt>", signed).replace("<flask session>", "eyJ.x.y")
    return request.replace("<16 bytes, base64>", "dGhlIHNhbXBsZSBub25jZQ==").encode()
