"""How Sphinx makes the documentation from the Markdown files of this repository.

The source directory is the repository's root, so that links between README.md and the pages
here work in the checkout, on the pages of a forge and in what is built.
"""

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "gaq-twisted"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "*.md"]
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
    """Show as they are the kinds of text that docs/troubleshooting.md tells apart."""
    for kind in ("log", "check"):
        app.add_lexer(kind, TextLexer)
