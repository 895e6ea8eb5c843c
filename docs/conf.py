"""How Sphinx builds the documentation from the Markdown files of this repository.

The source directory is the repository's root, so that links between the pages work in a clone, on a
forge and in the site.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.fileutil import copy_asset
from sphinx.util.osutil import relative_uri

from gaq_twisted import __version__

ROOT = Path(__file__).parent.parent

project = "gaq-twisted"
release = __version__
root_doc = "docs/index"
include_patterns = ["docs/**.md", "deploy/*.md", "*.md"]
# README.md is for forges; docs/index.md takes its place in the site.
exclude_patterns = ["README.md", ".venv*", "build", "dist", "_trial_temp*", "**/node_modules"]
extensions = ["myst_parser"]
# As deep as pages are linked into.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"
html_logo = html_favicon = "static/logo.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
# Leads from the first page of the site to docs/index.html.
html_extra_path = ["site"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

LEXERS = {"superset.conf": "nginx"}
"""The languages of files whose names do not show them."""


def setup(app: Sphinx) -> None:
    """Adds what Sphinx does not do by itself."""
    # docs/troubleshooting.md marks two kinds of text, which are shown unchanged.
    for kind in ("log", "check"):
        app.add_lexer(kind, TextLexer)
    app.add_post_transform(LinkFiles)
    app.connect("html-collect-pages", file_pages)
    app.connect("build-finished", copy_pictures)


class LinkFiles(SphinxPostTransform):
    """Links files of the repository to pages that show them, instead of to downloads."""

    default_priority = 5
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replaces the links of one page."""
        for node in list(self.document.findall(download_reference)):
            file = file_of(self.env.docname, node["reftarget"])
            if file is None:
                continue
            page = page_of(file)
            self.env.metadata[self.env.docname].setdefault("files", set()).add(str(file))
            uri = relative_uri(
                self.app.builder.get_target_uri(self.env.docname),
                self.app.builder.get_target_uri(page),
            )
            node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=uri))


def file_of(docname: str, target: str) -> Path | None:
    """Returns the text file that a page links to, relative to the repository, if it is one."""
    file = (ROOT / docname).parent.joinpath(target.lstrip("/")).resolve()
    if not file.is_relative_to(ROOT) or not file.is_file():
        return None
    return file.relative_to(ROOT)


def page_of(file: Path) -> str:
    """Returns the name of the page that shows a file."""
    return f"files/{file}"


def file_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yields highlighted pages of the files that pages link to, and of the others in deploy/."""
    linked = {file for data in app.env.metadata.values() for file in data.get("files", ())}
    folders = {Path(file).parent for file in linked if file.startswith("deploy/")}
    beside = {
        str(file.relative_to(ROOT))
        for folder in folders
        for file in (ROOT / folder).iterdir()
        if file.is_file()
    }
    for name in sorted(linked | beside):
        file = ROOT / name
        try:
            language = LEXERS.get(file.name) or get_lexer_for_filename(file.name).aliases[0]
        except ClassNotFound:
            language = "text"
        others = " ".join(
            f'<a href="{Path(other).name}.html"><code>{Path(other).name}</code></a>'
            for other in sorted(beside - {name})
            if Path(other).parent == Path(name).parent
        )
        code = app.builder.highlighter.highlight_block(file.read_text(), language, force=True)
        body = f"<h1>{name}</h1>{others and f'<p>Beside it: {others}</p>'}{code}"
        yield page_of(Path(name)), {"title": name, "body": body}, "page.html"


def copy_pictures(app: Sphinx, error: Exception | None) -> None:
    """Copies pictures that pages show by HTML, to choose between light and dark."""
    if error is None:
        pictures = Path(app.outdir) / "docs" / "images"
        copy_asset(app.srcdir / "docs" / "images", pictures, force=True)
