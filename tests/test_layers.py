"""The architecture: which folder may import which, what stays pure, how large modules are."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
PACKAGE = "gaq_twisted"
MAX_LINES = 300
MAX_TOP_MODULES = 7

LAYERS = (
    # The package itself, which has the version only.
    ("",),
    ("text", "commands"),
    ("config",),
    ("core",),
    ("access", "redis"),
    ("streams", "realtime", "web"),
    ("net",),
    ("ops",),
    ("server",),
    ("service",),
    ("tools",),
    ("tap", "cli"),
)
"""Folders and modules of the package, from the ground up. Imports only go down."""
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
EDITIONS = ("streams", "realtime")
"""One folder per protocol."""
KNOW_NO_EDITION = ("core", "net", "web", "ops")

PURE_FOLDERS = ("access", "config", "core")
PURE_MODULES = (
    "net.forwarded",
    "net.request_head",
    "streams.continuity",
    "streams.events",
    "streams.missed",
    "streams.resumption",
    "streams.tail",
    "text",
    "tools.check.cookies",
    "tools.check.findings",
    "tools.check.origins",
    "tools.check.protocols",
    "tools.check.refusals",
    "tools.check.settings",
    "tools.cookies",
    "tools.loadtest.realtime_record",
    "tools.loadtest.record",
    "tools.loadtest.report",
    "tools.node.realtime",
    "tools.node.story",
    "tools.node.streams",
    "tools.tokens.explain",
    "web.status.incidents",
    "web.status.replicas",
    "web.status.sampler",
)
IMPURE = ("autobahn", "twisted.internet.reactor", "txredisapi")
"""What pure modules load neither directly nor indirectly."""

# Imports modules one by one, and stops at the first that loads anything unwanted.
_PROBE = """
import importlib, json, sys
unwanted, modules = json.loads(sys.argv[1]), sys.argv[2:]
for module in modules:
    importlib.import_module(module)
    loaded = [one for one in unwanted if one in sys.modules]
    if loaded:
        print(module, *loaded)
        break
"""


class Import(NamedTuple):
    """An import of one of the package's modules by another."""

    importer: str
    imported: str
    line: int
    is_module_level: bool

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported} (line {self.line})"


def _files() -> dict[str, Path]:
    """Returns the package's source files by module, without the package's name."""
    files = {}
    for file in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = file.relative_to(ROOT / PACKAGE).with_suffix("").parts
        files[".".join(parts).removesuffix("__init__").removesuffix(".")] = file
    return files


def _pure_modules() -> list[str]:
    """Returns the modules that must be pure."""
    in_folders = [
        module
        for module, file in _files().items()
        if module.partition(".")[0] in PURE_FOLDERS and file.stem != "__init__"
    ]
    return sorted([*in_folders, *PURE_MODULES])


def _does_anything(module: str) -> bool:
    """Returns whether a module has a function with more than a docstring."""
    tree = ast.parse(_files()[module].read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return any(
        not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant)
        for function in functions
        for statement in function.body
    )


def _unwanted(modules: Sequence[str], unwanted: Sequence[str]) -> Iterator[str]:
    """Yields a line per module whose import loads an unwanted module."""
    left = list(modules)
    while left:
        run = subprocess.run(
            [sys.executable, "-c", _PROBE, json.dumps(unwanted), *left],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        module, _, loaded = run.stdout.strip().partition(" ")
        if not module:
            return
        yield f"{module} loads {loaded}"
        left = left[left.index(module) + 1 :]


class _ImportFinder(ast.NodeVisitor):
    """Finds the imports of the package's modules in the source of one of them."""

    def __init__(self, module: str, files: dict[str, Path]) -> None:
        self.found: list[Import] = []
        self._module = module
        self._files = files
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert not node.level, f"{self._module} has a relative import in line {node.lineno}"
        for alias in node.names:
            self._add(f"{node.module}.{alias.name}", node.lineno)

    def _add(self, name: str, line: int) -> None:
        package, _, module = name.partition(".")
        if package != PACKAGE:
            return
        # What is imported from a module is perhaps a module itself.
        while module and module not in self._files:
            module = module.rpartition(".")[0]
        found = Import(self._module, module, line, is_module_level=not self._depth)
        if found not in self.found:
            self.found.append(found)


def _imports() -> list[Import]:
    """Returns all imports between the package's modules, also those in functions."""
    files = _files()
    found: list[Import] = []
    for module, file in files.items():
        finder = _ImportFinder(module, files)
        finder.visit(ast.parse(file.read_text()))
        found.extend(finder.found)
    return found


def _top(module: str) -> str:
    return module.partition(".")[0]


class LayerTests(SynchronousTestCase):
    """Imports between folders."""

    def setUp(self) -> None:
        """Reads all imports, leaving out those within a folder."""
        self.all_imports = _imports()
        self.imports = [one for one in self.all_imports if _top(one.importer) != _top(one.imported)]
        self.assertGreater(len(self.imports), 100)

    def assert_none(self, wrong: Sequence[Import]) -> None:
        """Checks that there are no such imports."""
        self.assertEqual(list(map(str, wrong)), [])

    def test_all_have_a_layer(self) -> None:
        """Each folder and module stands in one layer."""
        names = {_top(module) for module in _files()} - {""}
        self.assertEqual(sorted(names - RANKS.keys()), [])

    def test_downwards(self) -> None:
        """No folder imports one that is above it or beside it."""
        self.assert_none(
            [one for one in self.imports if RANKS[_top(one.imported)] >= RANKS[_top(one.importer)]]
        )

    def test_editions(self) -> None:
        """What serves all protocols knows none, and no protocol knows another."""
        self.assert_none(
            [
                one
                for one in self.imports
                if _top(one.imported) in EDITIONS
                and _top(one.importer) in (*KNOW_NO_EDITION, *EDITIONS)
            ]
        )

    def test_tools(self) -> None:
        """Only the commands import what is beside the server."""
        self.assert_none(
            [
                one
                for one in self.imports
                if _top(one.imported) == "tools" and _top(one.importer) not in ("tap", "cli")
            ]
        )

    def test_tools_are_loaded_late(self) -> None:
        """The commands load them only when they are asked for."""
        self.assert_none(
            [one for one in self.imports if _top(one.imported) == "tools" and one.is_module_level]
        )

    def test_no_circles(self) -> None:
        """No two modules need each other to be imported."""
        needs: dict[str, set[str]] = {module: set() for module in _files()}
        for one in self.all_imports:
            if one.is_module_level:
                needs[one.importer].add(one.imported)
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            self.fail(" <- ".join(error.args[1]))


class PurityTests(SynchronousTestCase):
    """What is loaded by an import, directly or indirectly."""

    def assert_loads_none(self, modules: Sequence[str], *unwanted: str) -> None:
        """Checks that importing the modules loads none of the unwanted ones."""
        self.assertEqual(list(_unwanted(modules, unwanted)), [])

    def test_pure_modules(self) -> None:
        """The rules and the memory of the server need neither reactor nor network libraries."""
        pure = _pure_modules()
        there = [module for module in pure if module in _files()]
        self.assert_loads_none([f"{PACKAGE}.{module}" for module in there], *IMPURE)
        self.assertEqual(there, pure)

    def test_impure_module(self) -> None:
        """The check itself finds who loads what, and goes on behind it."""
        modules = ["json", "twisted.internet.reactor", "ast", "gaq_twisted.redis.connection"]
        self.assertEqual(
            list(_unwanted(modules, IMPURE)),
            [
                "twisted.internet.reactor loads twisted.internet.reactor",
                "gaq_twisted.redis.connection loads twisted.internet.reactor txredisapi",
            ],
        )

    def test_command(self) -> None:
        """The command's options can be shown without installing a reactor or loading the demo."""
        self.assert_loads_none(
            ["gaq_twisted.tap"], "twisted.internet.reactor", "gaq_twisted.tools.demo"
        )
        self.assert_loads_none(["gaq_twisted.tools.loadtest.command"], "twisted.internet.reactor")
        # Each of its commands pays only for itself.
        others = [f"{PACKAGE}.config", f"{PACKAGE}.tools", "twisted"]
        self.assert_loads_none([f"{PACKAGE}.cli"], *others)

    def test_plugin(self) -> None:
        """The plugin file, which every run of twistd may import, loads nothing of ours."""
        self.assert_loads_none(["twisted.plugins.gaq_ws"], PACKAGE)

    def test_redis_library(self) -> None:
        """Only one module knows the Redis library."""
        users = {
            file.name
            for file in _files().values()
            if any(
                name.partition(".")[0] == "txredisapi"
                for node in ast.walk(ast.parse(file.read_text()))
                for name in _imported_names(node)
            )
        }
        self.assertEqual(users, {"protocol.py", "session.py"})


def _imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


class RoomTests(SynchronousTestCase):
    """Modules as such."""

    def test_size(self) -> None:
        """No module is too long to be read at once."""
        lines = {module: len(file.read_text().splitlines()) for module, file in _files().items()}
        self.assertEqual(
            {module: count for module, count in lines.items() if count > MAX_LINES}, {}
        )

    def test_top(self) -> None:
        """Few modules stand outside the folders."""
        top = [
            module for module, file in _files().items() if file.parent.name == PACKAGE and module
        ]
        self.assertLessEqual(len(top), MAX_TOP_MODULES, top)

    def test_pure_modules_have_tests(self) -> None:
        """Each pure module that does anything has a test file of its name, in the same folder."""
        missing = []
        for module in filter(_does_anything, _pure_modules()):
            *folders, name = module.split(".")
            file = ROOT.joinpath("tests", *folders, f"test_{name}.py")
            if not file.exists():
                missing.append(str(file.relative_to(ROOT)))
        self.assertEqual(missing, [])
