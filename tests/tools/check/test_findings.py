"""How findings are worded."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.check.findings import (
    Finding,
    Mark,
    cut,
    duration,
    shown_name,
    shown_time,
)
from tests.support.samples import CHANNEL


class WordsTests(SynchronousTestCase):
    """The wording of findings."""

    def test_duration(self) -> None:
        """Time spans are shown in the largest unit of which there are at least two."""
        for seconds, text in (
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "120 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
            (-7200, "-2 h"),
        ):
            self.assertEqual(duration(seconds), text)

    def test_cut(self) -> None:
        """Never more than half of an id is shown."""
        for identifier in (CHANNEL, "channel", "a"):
            self.assertLessEqual(len(cut(identifier)) - 3, len(identifier) / 2)

    def test_names(self) -> None:
        """Names from outside are shortened, and quoted if they contain unprintable characters."""
        self.assertEqual(shown_name("session"), "session")
        self.assertEqual(shown_name("\x1b[31m"), "'\\x1b[31m'")
        self.assertEqual(shown_name("x" * 41), "x" * 37 + "...")

    def test_absurd_time(self) -> None:
        """A timestamp outside the calendar is shown as a number."""
        self.assertEqual(shown_time(0), "1970-01-01 00:00:00 UTC")
        self.assertEqual(shown_time(1e20), "100000000000000000000 s after 1970")

    def test_line(self) -> None:
        """A finding is one line, with its remedy if there is one."""
        self.assertEqual(str(Finding(Mark.OK, "port", "80 is free")), "ok    port: 80 is free")
        self.assertEqual(
            str(Finding(Mark.FAIL, "redis", "It is away.", "start it")),
            "FAIL  redis: It is away. Remedy: start it",
        )
