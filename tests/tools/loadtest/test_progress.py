"""What the load test shows of its progress."""

from io import StringIO

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.loadtest.progress import Progress


class Terminal(StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Returns that it is one."""
        return True


class ProgressTests(SynchronousTestCase):
    """Progress."""

    def test_file(self) -> None:
        """In a file there is a line per phase at once, and one every ten seconds."""
        stream, clock = StringIO(), Clock()
        progress = Progress(stream, clock.seconds, "load: ")
        progress.show("connecting", 0.0, "0 of 9")
        for second in range(21):
            progress.show("running", second / 20, f"{second} s")
            clock.advance(1)
        progress.clear()
        self.assertEqual(
            stream.getvalue().splitlines(),
            ["load: connecting: 0 of 9", *(f"load: running: {second} s" for second in (0, 10, 20))],
        )

    def test_terminal(self) -> None:
        """On a terminal a bar moves ten times a second, within 80 columns, and is cleared."""
        stream, clock = Terminal(), Clock()
        progress = Progress(stream, clock.seconds, "load: ")
        for count in (0, 1, 2):
            for _ in range(3):
                progress.show("running", count / 2, f"{100 * count} of 200 s, 1,000,000 published")
                clock.advance(0.04)
        progress.clear()
        first, *bars, last = stream.getvalue().split("\r")
        self.assertEqual((first, last), ("", "\x1b[K"))
        shown = [bar.removesuffix("\x1b[K") for bar in bars]
        self.assertEqual(
            shown,
            [
                f"running    [{'#' * (15 * count)}{'.' * (30 - 15 * count)}]"
                f" {100 * count} of 200 s, 1,000,000 published"
                for count in (0, 1, 2)
            ],
        )
        self.assertLess(max(map(len, shown)), 80)
