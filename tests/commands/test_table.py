"""Which command a command line means."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.commands.table import COMMANDS, choose, command_named


class ChoiceTests(SynchronousTestCase):
    """The choice of a command."""

    def test_commands(self) -> None:
        """The first word is the command, whatever follows."""
        for words, expected in (
            (["check", "--json"], ("check", ["--json"])),
            (["load", "--demo"], ("load", ["--demo"])),
            (["chek"], ("chek", [])),
            (["help", "load"], ("load", ["--help"])),
            (["help"], ("help", [])),
            (["-h"], ("help", [])),
            (["--help"], ("help", [])),
            (["--version"], ("version", [])),
        ):
            self.assertEqual(choose(words), expected)

    def test_options(self) -> None:
        """Options alone are those of serve, unless one of them is an older spelling."""
        for words, expected in (
            ([], ("serve", [])),
            (["-c", "x"], ("serve", ["-c", "x"])),
            (["--config", "x", "--check", "-v"], ("check", ["--config", "x", "-v"])),
            (["--demo"], ("demo", [])),
        ):
            self.assertEqual(choose(words), expected)

    def test_names(self) -> None:
        """Each command is found by its name, and nothing else is."""
        self.assertEqual([command_named(command.name) for command in COMMANDS], list(COMMANDS))
        self.assertIsNone(command_named("version"))


class OptionTests(SynchronousTestCase):
    """Options."""

    def test_load(self) -> None:
        """Short, long and older names mean the same."""
        command = command_named("load")
        assert command is not None
        for words in (
            ["-c", "7", "-r", "2", "-d", "3m"],
            ["--connections=7", "--rate=2", "--duration=180"],
            ["--clients", "7", "--rate", "2", "--seconds", "180"],
        ):
            options = command.parser().parse_args(words)
            self.assertEqual((options.connections, options.rate, options.duration), (7, 2.0, 180.0))
        options = command.parser().parse_args([])
        self.assertEqual((options.connections, options.duration, options.yes), (100, 30.0, False))
