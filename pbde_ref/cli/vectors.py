"""``pbde-ref vectors``: test vectors for implementations in other languages."""

from __future__ import annotations

import argparse
import json

from pbde_ref.vectors.format import FORMAT
from pbde_ref.vectors.writing import write_vectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``pbde-ref vectors``."""
    parser.add_argument("--out", metavar="DIR", required=True, help="where to write them; made if it does not exist")


def run(options: argparse.Namespace) -> int:
    """Write the vectors and say what was written; the exit status."""
    paths = write_vectors(options.out)
    tests = sum(json.loads(path.read_text("utf-8")).get("number_of_tests", 0) for path in paths)
    print(f"{tests} tests in {len(paths) - 1} files and their schema, format {FORMAT}, in {options.out}")
    return 0
