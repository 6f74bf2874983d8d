"""``pbde-ref comparisons``: how many comparisons a policy needs, or how far off it is after so many."""

from __future__ import annotations

import argparse

import numpy as np

from pbde_ref.cli.arguments import real, table, whole
from pbde_ref.distributions import FiniteDistribution, uniform
from pbde_ref.exact.sample_size import comparisons_needed, policy_error
from pbde_ref.paper_problem import paper_problem
from pbde_ref.proposals import ProductProposal

__all__ = ["add_arguments", "run", "weights"]

# Beside what is asked for.
ROUND_NUMBERS = (10**3, 10**4, 10**5, 10**6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``pbde-ref comparisons``."""
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--total-variation", type=real, metavar="D", help="mean distance of the policy from the truth")
    wanted.add_argument("--nats", type=real, metavar="D", help="mean divergence of the policy from the truth")
    wanted.add_argument("--number", type=whole(1, 10**18), metavar="N", help="of comparisons: how far off after these?")
    parser.add_argument("--weights", type=weights, metavar="A,B,...", help="the truth, up to a factor [the paper's]")
    parser.add_argument("--support", type=whole(2, 2048), default=64, metavar="N", help="grid of the paper's [64]")
    parser.add_argument("--pairs", choices=("reference", "uniform", "preference"),
                        help="what both answers are drawn from [reference; with --weights uniform]")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print a line for what is asked for, and for round numbers; the exit status."""
    problem = paper_problem(options.support)
    p = problem.implicit_preference_distribution if options.weights is None else options.weights
    drawn_from = {"uniform": uniform(p.support), "preference": p}
    if options.weights is None:
        drawn_from["reference"] = problem.reference
    pairs = options.pairs or ("reference" if options.weights is None else "uniform")
    if pairs not in drawn_from:
        raise ValueError("--pairs must be uniform or preference where --weights are given; got 'reference'")
    proposal = ProductProposal(drawn_from[pairs])
    if options.number is not None:
        numbers = [options.number]
    elif options.total_variation is None and options.nats is None:
        numbers = []
    else:
        targets = {"total_variation": options.total_variation, "nats": options.nats}
        numbers = [comparisons_needed(p.log_pmf, proposal, **targets)]
    rows = []
    for number in numbers or ROUND_NUMBERS:
        error = policy_error(p.log_pmf, proposal, number)
        rows.append([f"{number:,}", f"{error.total_variation:.4g}", f"{error.nats:.4g}"])
    print(f"{len(p)} outcomes, Luce rule, both answers of a pair from {pairs};")
    print("means for many comparisons\n")
    print(table(rows, headers=["comparisons", "total variation", "nats"]))
    return 0


def weights(text: str) -> FiniteDistribution:
    """An option's type: a distribution by its weights."""
    try:
        return FiniteDistribution.from_weights(np.array([float(part) for part in text.split(",")]))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be non-negative numbers with commas between them: {error}") from None
