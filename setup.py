"""Package metadata and dependencies; tool settings live in pyproject.toml."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

# The last two print tables and progress; the third keeps products of matrices the same on any number of cores.
REQUIRED = ["numpy>=2.0", "scipy>=1.13", "threadpoolctl>=3.5", "tabulate>=0.9", "tqdm>=4.66"]
FIGURES = ["matplotlib>=3.9", "autograd>=1.8"]
LANGUAGE = [*FIGURES, "msgpack>=1.0.8", "sentencepiece>=0.2.0"]
FILES = ["pyarrow>=17", "zstandard>=0.22"]
TOOLS = ["pytest>=8", "pytest-xdist>=3.6.1", "hypothesis>=6.100", "mpmath>=1.3", "jsonschema>=4.18"]
TEST = [*LANGUAGE, *FILES, "polars>=1", "xarray>=2024.7", *TOOLS]
DASK = ["distributed>=2024.8"]
DOCS = ["sphinx>=8", "myst-parser>=4", "furo>=2024.8", "numpydoc>=1.8", "sphinx-mathjax-offline>=0.0.2"]
COMPLETION = ["argcomplete>=3.4"]
DEVELOPMENT = [*TEST, *DASK, "ruff>=0.6", "mypy>=1.11"]

# Where the repository is published: who builds a release says so.
HOME = os.environ.get("PBDE_REF_REPOSITORY", "").rstrip("/")


def description() -> str:
    """The README as a package index shows it: its links lead to the repository, or are text where none is named."""

    def absolute(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if re.match("https?:|#", target):
            return link[0]
        if not HOME:
            return "" if picture else text
        return f"{picture}[{text}]({HOME}/{'raw' if picture else 'blob'}/main/{target})"

    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)", absolute, readme)


URLS = {"Paper": "https://arxiv.org/abs/2311.14115"}
if HOME:
    URLS |= {"Source": HOME, "Changes": f"{HOME}/blob/main/CHANGELOG.md", "Issues": f"{HOME}/issues"}

setup(
    name="pbde-ref",
    version="0.2.0",
    description="Exact reference implementation of learning from pairwise preferences as density estimation",
    long_description=description(),
    long_description_content_type="text/markdown",
    license_expression="BSD-3-Clause",
    license_files=["LICENSE"],
    project_urls=URLS,
    author="The pbde_ref developers",
    python_requires=">=3.11",
    packages=find_packages(include=["pbde_ref", "pbde_ref.*"]),
    package_data={
        "pbde_ref": [
            "py.typed", "vectors/vectors.schema.json", "vectors/VECTORS.md", "vectors/readers/*",
            "estimation/data/*.csv", "cli/pages/*.toml", "experiments/*.toml", "experiments/toy/*.toml",
            "explore/page.*",
        ],
    },
    py_modules=["pbde_ref_command", "pytest_pbde_ref"],
    install_requires=REQUIRED,
    extras_require={
        "figures": FIGURES, "language": LANGUAGE, "files": FILES, "dask": DASK, "completion": COMPLETION, "docs": DOCS,
        "test": TEST, "dev": DEVELOPMENT,
    },
    entry_points={
        "console_scripts": ["pbde-ref = pbde_ref_command:main"],
        "pytest11": ["pytest_pbde_ref = pytest_pbde_ref"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Mathematics",
        "Topic :: Software Development :: Testing",
        "Typing :: Typed",
    ],
)
