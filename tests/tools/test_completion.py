"""The completions."""

import shutil
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from gaq_twisted.commands.options import SHELLS
from gaq_twisted.commands.table import COMMANDS
from gaq_twisted.tools.command_options import arguments
from gaq_twisted.tools.completion import script
from tests.support import sessions

# Sets what bash sets for a completion of the last word.
_BASH = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_gaq_ws
printf '%s\\n' "${COMPREPLY[@]}"
"""


class CompletionTests(SynchronousTestCase):
    """The scripts."""

    def script(self, shell: str) -> Path:
        """Returns a file with the script for a shell, which must be here."""
        if shutil.which(shell) is None:
            raise SkipTest(f"there is no {shell}")
        file = Path(self.mktemp())
        file.write_text(script(shell))
        return file

    def test_syntax(self) -> None:
        """Each shell that is here accepts its script."""
        for shell in filter(shutil.which, SHELLS):
            done = sessions.run([shell, "-n", self.script(shell)])
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_complete(self) -> None:
        """Each script has all commands; older names of options are not offered."""
        for shell in SHELLS:
            text = script(shell)
            for command in COMMANDS:
                self.assertIn(command.name, text)
        load = [name for one in arguments(COMMANDS[-1]) for name in one.names]
        self.assertIn("--connections", load)
        self.assertNotIn("--clients", load)

    def words(self, *words: str) -> list[str]:
        """Returns what bash offers for the last of these words."""
        done = sessions.run(["bash", "-c", _BASH, "bash", self.script("bash"), "gaq-ws", *words])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()

    def test_bash(self) -> None:
        """Commands, options and values are completed; without a command those of serve."""
        self.assertEqual(self.words("che"), ["check"])
        for command in COMMANDS:
            self.assertIn(command.name, self.words(""))
        self.assertEqual(self.words("--c"), ["--config"])
        self.assertEqual(self.words("load", "--pro"), ["--protocol"])
        self.assertEqual(self.words("load", "--yes", "--protocol", ""), ["streams", "realtime"])
        self.assertEqual(self.words("completion", "f"), ["fish"])
        self.assertIn("--help", self.words("demo", "-"))

    def test_bash_values(self) -> None:
        """Where the words are not known, it offers none, for which bash offers files."""
        self.assertEqual(self.words("--config", ""), [])
        self.assertEqual(self.words("check", "-c", ""), [])
        self.assertIn("complete -o default", script("bash"))
