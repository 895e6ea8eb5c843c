"""How Sphinx makes the documentation from the Markdown files of this repository.

The source directory is the repository's root, so that links between README.md and the pages
here work in the checkout, on the pages of a forge and in what is built.
"""

from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

project = "gaq-twisted"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "deploy/*.md", "*.md"]
exclude_patterns = [".venv*", "build", "dist", "_trial_temp*", "**/node_modules"]
extensions = ["myst_parser"]
# As deep as pages are linked into.
myst_heading_anchors = 3

html_theme = "furo"
html_title = project
# Leads from the first page of the site to docs/index.html.
html_extra_path = ["site"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Fit in what Sphinx does not know by itself."""
    # The kinds of text that docs/troubleshooting.md tells apart are shown as they are.
    for kind in ("log", "check"):
        app.add_lexer(kind, TextLexer)
    app.connect("build-finished", _copy_pictures)


def _copy_pictures(app: Sphinx, error: Exception | None) -> None:
    # README.md shows them by HTML, to choose between light and dark, which Sphinx leaves alone.
    if error is None:
        copy_asset(app.srcdir / "docs" / "images", Path(app.outdir) / "docs" / "images")
