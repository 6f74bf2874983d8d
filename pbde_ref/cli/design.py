"""``pbde-ref design``: which pairs to compare, and how many comparisons that saves."""

from __future__ import annotations

import argparse
import math

import numpy as np

from pbde_ref.annotators import Annotator
from pbde_ref.cli.arguments import output_path, real, table, whole
from pbde_ref.cli.comparisons import weights
from pbde_ref.design import design_value, optimal_design
from pbde_ref.design.criteria import CRITERIA
from pbde_ref.files import write_json
from pbde_ref.paper_problem import paper_problem
from pbde_ref.pbde import luce
from pbde_ref.proposals import PairListProposal, ProductProposal, Proposal
from pbde_ref.validation import positive_number

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``pbde-ref design``."""
    parser.add_argument("--criterion", choices=tuple(CRITERIA), default="policy",
                        help="; ".join(f"{name}: {text}" for name, text in CRITERIA.items()) + " [policy]")  # fmt: skip
    parser.add_argument("--error", type=real, metavar="E", help="what the criterion is to come down to [a hundredth "
                        "of what one comparison from the design has]")  # fmt: skip
    parser.add_argument("--weights", type=weights, metavar="A,B,...", help="the truth, up to a factor [the paper's]")
    parser.add_argument("--support", type=whole(2, 512), default=64, metavar="N", help="grid of the paper's [64]")
    parser.add_argument("--top", type=whole(0, 10**6), default=10, metavar="N", help="pairs to print [10]")
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write all numbers and pairs there")


def run(options: argparse.Namespace) -> int:
    """Print the design's heaviest pairs, and what it and others need; the exit status: 1 if it is not converged."""
    problem = paper_problem(options.support)
    p = problem.implicit_preference_distribution if options.weights is None else options.weights
    annotator = Annotator(p, luce())
    design = optimal_design(annotator, options.criterion)
    error = design.value / 100.0 if options.error is None else positive_number("--error", options.error)
    a, b = np.triu_indices(len(p), 1)
    others: dict[str, Proposal] = {"all pairs alike": PairListProposal(a, b)}
    if options.weights is None:
        others["two from the reference"] = ProductProposal(problem.reference)
    values = {"the design": design.value}
    values |= {name: design_value(annotator, proposal, options.criterion) for name, proposal in others.items()}
    needed = {name: math.ceil(value / error * (1.0 - 1e-12)) for name, value in values.items()}
    names = np.asarray(p.support).tolist()
    pairs = [
        {"a": names[i], "b": names[j], "weight": float(weight)}
        for i, j, weight in zip(design.proposal.x_a, design.proposal.x_b, design.proposal.weights, strict=True)
    ]
    print(f"{len(p)} outcomes, Luce rule; {CRITERIA[options.criterion]}:")
    print("value / N after many comparisons N")
    print(f"{len(pairs):,} of {a.size:,} pairs; no proposal saves more than {design.gap:.1e} of what they need\n")
    rows = [[name, f"{v:.6g}", f"{needed[name]:,}", f"{design.value / v:.1%}"] for name, v in values.items()]
    print(table(rows, headers=["pairs from", "value", f"comparisons for {error:.3g}", "efficiency"]))
    if options.top:
        shown = [[f"{pair['a']:.4g}", f"{pair['b']:.4g}", f"{pair['weight']:.4f}"] for pair in pairs[: options.top]]
        print("\n" + table(shown, headers=["answer", "against", "share"]))
    if options.json:
        write_json(options.json, {
            "criterion": options.criterion, "gap": design.gap, "converged": design.converged, "steps": design.steps,
            "reason": design.reason, "error": error, "values": values, "comparisons": needed, "pairs": pairs,
        })  # fmt: skip
    if design.reason:
        print(f"\nNot converged: {design.reason}.")
    return 0 if design.converged else 1
