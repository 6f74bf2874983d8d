"""``pbde-ref vectors``: test vectors for implementations in other languages."""

from __future__ import annotations

import argparse
import json

from pbde_ref.cli.arguments import output_path, whole
from pbde_ref.files import write_atomically
from pbde_ref.vectors.drawn import TESTS_OF_EACH
from pbde_ref.vectors.format import FORMAT
from pbde_ref.vectors.theorems import theorems
from pbde_ref.vectors.writing import write_vectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``pbde-ref vectors``."""
    parser.add_argument("--out", metavar="DIR", type=output_path(folder=True), required=True,
                        help="where to write them; made if it does not exist")  # fmt: skip
    parser.add_argument("--drawn", metavar="N", type=whole(0, 1000), default=TESTS_OF_EACH,
                        help=f"tests in each of the groups drawn for a loss [{TESTS_OF_EACH}]")  # fmt: skip
    proving = parser.add_argument_group("theorems for Coq with coq-interval")
    proving.add_argument("--theorems", metavar="FILE", type=output_path(),
                         help="write that expected values are the real numbers, rounded")  # fmt: skip
    proving.add_argument("--sample", metavar="N", type=whole(1, 10**6), help="of N tests drawn with --seed [all]")
    proving.add_argument("--seed", metavar="S", type=whole(0, 2**63), default=0, help="of the sample [0]")


def run(options: argparse.Namespace) -> int:
    """Write the vectors and say what was written; the exit status."""
    paths = write_vectors(options.out, options.drawn)
    documents = [json.loads(path.read_text("utf-8")) for path in paths[:-1]]
    tests = sum(document["number_of_tests"] for document in documents)
    print(f"{tests} tests in {len(documents)} files and their schema, format {FORMAT}, in {options.out}")
    if options.theorems is not None:
        pieces = list(theorems(documents, options.sample, options.seed))
        write_atomically(options.theorems, "\n".join(pieces).encode())
        print(f"{len(pieces) - 1} theorems in {options.theorems}; seed {options.seed}")
    return 0
