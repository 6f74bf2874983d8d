"""Say which claims and losses there are."""

from __future__ import annotations

import argparse

from pbde_ref.cli.arguments import table
from pbde_ref.experiments.atlas import RULES
from pbde_ref.verification import CLAIMS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(options: argparse.Namespace) -> int:
    """Print claims and losses, a line each."""
    width = [None, None, 44]
    claims = [[claim.name, claim.place, claim.statement] for claim in CLAIMS.values()]
    print(table(claims, ["claim", "paper", "statement"], maxcolwidths=width), end="\n\n")
    losses = [[name, f"Fig. {rule.figure}" if rule.figure else "", rule.statement] for name, rule in RULES.items()]
    print(table(losses, ["loss", "paper", "what is minimised"], maxcolwidths=width))
    return 0
