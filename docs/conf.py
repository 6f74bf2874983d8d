"""The documentation site: every Markdown page of the repository where it stands, and the reference from docstrings.

python -m sphinx -W --keep-going -c docs . build/site
"""

from pbde_ref import __version__

project = "pbde_ref"
author = "The pbde_ref developers"
copyright = author
release = version = __version__

root_doc = "docs/index"
include_patterns = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**", "proofs/**.md", "benchmarks/**.md", "pbde_ref/**.md",
]  # fmt: skip
exclude_patterns = ["docs/conf.py", "build", "**/.*"]
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_title = "pbde_ref"
html_copy_source = False
html_show_sphinx = False
