"""The documentation site: every Markdown page of the repository where it stands, and the reference from docstrings.

python -m sphinx -W --keep-going -c docs . build/site
"""

import importlib.util
from pathlib import Path

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.ext import autosummary
from sphinx.util import logging

from pbde_ref import __version__

project = "pbde_ref"
author = "The pbde_ref developers"
copyright = author
release = version = __version__

root_doc = "docs/index"
include_patterns = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**", "proofs/**.md", "benchmarks/**.md", "pbde_ref/**.md",
]  # fmt: skip
exclude_patterns = ["docs/**.py", "docs/templates", "build", "**/.*"]
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]

myst_enable_extensions = ["dollarmath", "amsmath"]
# A displayed formula may follow its sentence without an empty line.
myst_dmath_double_inline = True
myst_heading_anchors = 4

autosummary_generate = True
# Tables of the reference are made beside the root of the repository, and look for templates from there.
templates_path = [str(Path(__file__).parent / "templates")]
# The reference's tables show first sentences, which ended in "IPO, Eq." where a number follows.
autosummary.WELL_KNOWN_ABBREVIATIONS += ("Eq.", "Eqs.", "Sec.", "Fig.")
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# paper.py writes lengths as the paper does.
rst_prolog = r".. |x| replace:: \|x\|"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
# What a browser opens first.
html_extra_path = ["index.html"]
html_title = "pbde_ref"
html_copy_source = False
html_show_sphinx = False

_spec = importlib.util.spec_from_file_location("run", Path(__file__).parent / "notebooks" / "run.py")
_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_run)


class NotebookParser(MystParser):
    """Notebooks are pages: text, code, and the outputs that stand in them, which the tests compare."""

    supported = ("ipynb",)

    def parse(self, inputstring, document):
        """As Markdown."""
        super().parse(_run.markdown_of(inputstring), document)


def _refuse_dollars(app, doctree):
    """A dollar in a sentence is a formula that was not read as one; no sentence ends before an equation's number."""
    formulas_and_code = (nodes.math, nodes.literal, nodes.FixedTextElement, nodes.raw)
    for text in doctree.findall(nodes.Text):
        if "$" in text and not isinstance(text.parent, formulas_and_code):
            logging.getLogger(__name__).warning("a formula was not read: %s", text[:100], location=text.parent)
        elif text.endswith((" Eq.", " Fig.")) and text is text.parent[-1] and isinstance(text.parent, nodes.paragraph):
            logging.getLogger(__name__).warning("a sentence was cut: %s", text[-100:], location=text.parent)


def _leave_out(app, what, name, obj, skip, options):
    """Fields of named tuples stand among their attributes, and have nothing more to say."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
    """Let Sphinx read notebooks, and hold it to formulas."""
    app.connect("autodoc-skip-member", _leave_out)
    app.connect("doctree-read", _refuse_dollars)
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
