"""Package metadata and dependencies; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

REQUIRED = [
    "numpy>=2.0",
    "scipy>=1.13",
    "autograd>=1.7",
    "matplotlib>=3.8",
    "tqdm>=4.66",
    "tabulate>=0.9",
    "threadpoolctl>=3.5",
    "msgpack>=1.0.8",
    "sentencepiece>=0.2.0",
]
TEST = ["pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "mpmath>=1.3", "jsonschema>=4"]
FILES = ["pyarrow>=15", "zstandard>=0.22"]
DASK = ["distributed>=2024.8"]
DOCS = ["sphinx>=8", "myst-parser>=4", "furo>=2024.8", "numpydoc>=1.8", "sphinx-mathjax-offline>=0.0.2"]
DEVELOPMENT = [*TEST, *DASK, "ruff>=0.6", "mypy>=1.11"]

setup(
    name="pbde-ref",
    version="0.2.0",
    description="Exact reference implementation of learning from pairwise preferences as density estimation",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="BSD-3-Clause",
    license_files=["LICENSE"],
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
    extras_require={"test": TEST, "dev": DEVELOPMENT, "files": FILES, "dask": DASK, "docs": DOCS},
    entry_points={
        "console_scripts": ["pbde-ref = pbde_ref_command:main"],
        "pytest11": ["pytest_pbde_ref = pytest_pbde_ref"],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Development Status :: 4 - Beta",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
