"""What `gaq-ws token` prints."""

import os
import sys
import time
from argparse import Namespace

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.derived import serves_realtime, serves_streams
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import Loaded, file_to_read, load

_STANDARD_INPUT = "-"
_REJECTED = 1
_UNUSABLE = 2


def run(options: Namespace) -> None:
    """Prints a new cookie, or explains one.

    Raises:
        SystemExit: with 1 if the server rejects the cookie, with 2 if the settings or options
            cannot be used.
    """
    try:
        loaded = load(file_to_read(options.config), os.environ)
        _validate(loaded)
        if options.explain is None:
            _mint(loaded, options)
        else:
            _explain(loaded, options.explain)
    except ConfigError as error:
        for fault in error.faults:
            _note(f"gaq-ws token: {fault}")
        raise SystemExit(_UNUSABLE) from None


def _validate(loaded: Loaded) -> None:
    if serves_streams(loaded.settings):
        Authenticator(loaded.settings)
    if serves_realtime(loaded.settings):
        PrincipalAuthenticator(loaded.settings, time.time)


def _mint(loaded: Loaded, options: Namespace) -> None:
    from gaq_twisted.tools.tokens.mint import Wish, new_cookie

    wish = Wish(options.protocol, options.channel, options.user, options.url, options.expires)
    made = new_cookie(loaded, wish, time.time())
    print(f"Cookie: {made.header}", flush=True)
    _note(f"\nA token for {made.whom}.\n\nTo connect with it:\n  {made.connect[0]}")
    for command in made.connect[1:]:
        _note(f"or\n  {command}")
    _note(f"\nTo send an event to it:\n  {made.publish}")


def _explain(loaded: Loaded, text: str) -> None:
    from gaq_twisted.tools.tokens.explain import explain

    if text == _STANDARD_INPUT:
        text = sys.stdin.readline()
    explanation = explain(loaded, text, time.time())
    for line in explanation.lines:
        print(line)
    if not explanation.is_accepted:
        raise SystemExit(_REJECTED)


def _note(line: str) -> None:
    print(line, file=sys.stderr)
