"""Which module may import what, each looked at in a process of its own."""

import ast
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent


def _imported_by(module: str) -> list[str]:
    """Return the names of all modules that are loaded once that one is imported."""
    code = f"import sys, {module}; print(*sorted(sys.modules), sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return run.stdout.splitlines()


def _imports_in_source(file: Path) -> set[str]:
    """Return the top-level packages that a source file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


class PurityTests(SynchronousTestCase):
    """Imports, direct and indirect."""

    def assert_imports_none_of(self, module: str, *unwanted: str) -> None:
        """Check that importing a module loads none of those modules or packages."""
        imported = _imported_by(module)
        self.assertIn(module, imported)
        found = [
            name
            for name in imported
            if any(name == one or name.startswith(f"{one}.") for one in unwanted)
        ]
        self.assertEqual(found, [], module)

    def test_pure_modules(self) -> None:
        """The rules and the memory of the server need neither reactor nor network libraries."""
        for name in (
            *("config.load", "config.catalogue", "access.tokens", "access.origins"),
            *("net.forwarded", "net.request_head", "tools.check.verdicts"),
            *("core.deadlines", "core.throttle", "core.rejections", "core.hub", "core.metrics"),
            *("core.dashboard", "streams.metrics", "streams.dashboard", "web.status.contents"),
            *("streams.events", "streams.tail", "streams.missed"),
            *("web.status.sampler", "web.status.incidents"),
            *("tools.loadtest.record", "tools.loadtest.cookies"),
        ):
            self.assert_imports_none_of(
                f"gaq_twisted.{name}", "twisted.internet.reactor", "autobahn", "txredisapi"
            )

    def test_command(self) -> None:
        """The command's options can be shown without installing a reactor or loading the demo."""
        self.assert_imports_none_of(
            "gaq_twisted.tap", "twisted.internet.reactor", "gaq_twisted.tools.demo"
        )
        self.assert_imports_none_of(
            "gaq_twisted.tools.loadtest.command", "twisted.internet.reactor"
        )

    def test_plugin(self) -> None:
        """The plugin file, which every run of twistd may import, loads nothing of ours."""
        self.assert_imports_none_of("twisted.plugins.gaq_ws", "gaq_twisted")

    def test_redis_library(self) -> None:
        """Only one module knows the Redis library."""
        users = {
            file.name
            for file in (ROOT / "gaq_twisted").rglob("*.py")
            if "txredisapi" in _imports_in_source(file)
        }
        self.assertEqual(users, {"connection.py"})
