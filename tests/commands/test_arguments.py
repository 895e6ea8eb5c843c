"""The forms of arguments."""

from argparse import ArgumentTypeError
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.commands.arguments import above_zero, count, duration_seconds, from_zero, share


class ArgumentTests(SynchronousTestCase):
    """What is accepted, and what is not."""

    def test_durations(self) -> None:
        """A number is seconds; units are those of load generators."""
        for text, seconds in (
            *(("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86_400.0)),
            ("500ms", 0.5),
        ):
            self.assertEqual(duration_seconds(text), seconds)
        for text in ("", "0", "-1s", "1 s", "1h30m", "3x", "nan", "inf", "1e3", "\u0663m\n"):
            with self.assertRaises(ArgumentTypeError):
                duration_seconds(text)

    def test_numbers(self) -> None:
        """Each range has its ends, and excludes what is no number."""
        cases: tuple[tuple[Callable[[str], float], tuple[str, ...], tuple[str, ...]], ...] = (
            (count, ("1", "500"), ("0", "-1", "1.5", "x", "")),
            (above_zero, ("0.1", "1e3"), ("0", "-1", "inf", "nan", "x")),
            (from_zero, ("0", "0.5"), ("-1", "inf", "nan", "x")),
            (share, ("0", "1", "0.02"), ("-0.1", "1.1", "nan", "x")),
        )
        for kind, good, bad in cases:
            for text in good:
                self.assertEqual(kind(text), float(text))
            for text in bad:
                with self.assertRaises(ArgumentTypeError):
                    kind(text)
