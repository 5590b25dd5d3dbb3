"""Configuration of the documentation site: ``python -m sphinx -W docs out/site`` builds it from the pages of this folder."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
# The pages of a checkout describe this checkout, whatever is installed.
sys.path[:0] = [str(HERE), *(str(HERE.parent / root) for root in ("service", "models", "clients/python"))]
# Help texts are not shaped by the terminal that the site is built in.
os.environ["TERM"] = "dumb"

from sphinx.application import Sphinx  # noqa: E402

from mindwire import __version__  # noqa: E402 - found by the paths above

project = "Mindwire"
author = "The Mindwire developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "generated"]

myst_heading_anchors = 4  # the anchors that a forge gives headings

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have shapes and units beside the types
autodoc_class_signature = "mixed"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "Mindwire"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_depth": 2,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
copyright = author  # noqa: A001 - Sphinx's name


def other_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Make links to Markdown outside this folder, which is no part of the site, links to copies of these files."""
    del app, name
    source[0] = re.sub(r"\[([^\]\n]+)\]\((\.\./[^)#\s]+\.md)\)", r"{download}`\1 <\2>`", source[0])


def unlisted_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """List under the guides each page that no list of contents names, so that a new page cannot be missing."""
    if name == "guides":
        listed = {line for path in HERE.glob("*.md") for line in path.read_text("utf-8").splitlines()}
        more = sorted(path.stem for path in HERE.glob("*.md") if path.stem not in {*listed, app.config.root_doc})
        if more:
            source[0] += "\n".join(["", "```{toctree}", ":hidden:", "", *more, "```", ""])


def setup(app: Sphinx) -> None:
    """Register the changes of pages."""
    app.connect("source-read", other_pages)
    app.connect("source-read", unlisted_pages)
