"""Text from outside in logs and reports."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.text import printable, shortened


class TextTests(SynchronousTestCase):
    """Text from outside."""

    def test_printable(self) -> None:
        """Printable text is unchanged; a text with other characters is escaped."""
        for text, shown in (
            ("", ""),
            ("naïve ☃", "naïve ☃"),
            ("a\nb", r"a\nb"),
            ("\x1b[2J", r"\x1b[2J"),
            ("\u202e", r"\u202e"),
            ("\udcff", r"\udcff"),
        ):
            self.assertEqual(printable(text), shown)
            self.assertTrue(printable(text).isprintable())

    def test_shortened(self) -> None:
        """A text is never longer than the limit, and ends with an ellipsis if it was."""
        self.assertEqual(shortened("x" * 10, 10), "x" * 10)
        self.assertEqual(shortened("x" * 11, 10), "x" * 7 + "...")
