"""Which edition is chosen for a client."""

from collections.abc import Mapping
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.edition import Edition, Ticket, Unauthorized, Upgrade, choose
from gaq_twisted.core.reasons import UpgradeReason


class FakeEdition:
    """An edition that accepts a cookie with its name."""

    def __init__(self, name: str, query_key: str) -> None:
        self.name = name
        self.query_key = query_key

    def ticket(self, upgrade: Upgrade) -> Ticket:
        """Returns a ticket, or refuses."""
        if self.name not in upgrade.cookies:
            raise Unauthorized(UpgradeReason.NO_COOKIE, self.name)
        return Ticket((self.name,), None)


class ChooseTests(SynchronousTestCase):
    """The rule for two editions, the second of which is always named by its browsers."""

    def chosen(self, cookies: str, query: Mapping[str, str]) -> str:
        """Returns the name of the chosen edition, or the reason of a refusal."""
        editions = [FakeEdition("old", "last_id"), FakeEdition("new", "tab_id")]
        try:
            edition, ticket = choose(cast(Any, editions), Upgrade(cookies, query))
        except Unauthorized as error:
            return f"no_{error}"
        self.assertEqual(ticket.routes, (edition.name,))
        return edition.name

    def test_parameter(self) -> None:
        """A parameter decides, even against the cookies; that of the last edition wins."""
        for cookies, query, name in (
            ("old new", {"tab_id": "1"}, "new"),
            ("old new", {"last_id": "1-0"}, "old"),
            ("old", {"tab_id": "1"}, "no_new"),
            ("new", {"last_id": "1-0"}, "no_old"),
            ("old new", {"last_id": "1-0", "tab_id": "1"}, "new"),
            ("old new", {"tab_id": ""}, "new"),
        ):
            self.assertEqual(self.chosen(cookies, query), name, (cookies, query))

    def test_cookies(self) -> None:
        """Without a parameter the cookies decide; if both are good, the first edition."""
        for cookies, name in (("old", "old"), ("new", "new"), ("old new", "old"), ("", "no_old")):
            self.assertEqual(self.chosen(cookies, {"x": "y"}), name, cookies)

    def test_one_edition(self) -> None:
        """With one edition, parameters of others change nothing."""
        edition = cast(Edition, FakeEdition("old", "last_id"))
        self.assertEqual(choose([edition], Upgrade("old", {"tab_id": "1"}))[0], edition)
