r"""What a fitter is held against: the certified maximum of the likelihood, and of a prior if it says so.

.. math:: \hat\omega = \arg\max_\omega \sum_m w_m \log \sigma(\omega_{\text{winner}} - \omega_{\text{loser}})
          - \tfrac{c}{2} \sum_i \omega_i^2
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from pbde_ref.estimation.likelihood import TIE_MODELS, fit_comparisons
from pbde_ref.estimation.priors import GaussianPrior, Prior, PseudoCounts
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.oracle.fitters.votes import TIE, Votes
from pbde_ref.validation import FloatArray, number, positive_number

__all__ = ["ANCHORS", "ELO", "Declared", "optimum", "score_residual"]

ELO = 400.0 / math.log(10.0)
ANCHORS = ("mean", "sum", "first", "last")
TIES = ("drop", *TIE_MODELS)


@dataclass(frozen=True)
class Declared:
    """What a fitter is said to compute; see `check_fitter`."""

    ties: str | None = None
    scale: float | str = 1.0
    ridge: float | str = 0.0
    anchor: str | None = None
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if self.ties not in (None, *TIES):
            raise ValueError(f"`ties` must be one of {', '.join(map(repr, TIES))}; got {self.ties!r}")
        if self.scale not in ("odds", "elo"):
            positive_number("scale", self.scale)
        if not 1e-9 <= number("tolerance", self.tolerance) <= 0.1:
            raise ValueError(f"`tolerance` must be from 1e-9 to 0.1 nats; got {self.tolerance}")
        _ = self.prior, self.zero

    @property
    def prior(self) -> Prior | None:
        """The prior that `ridge` stands for."""
        kind, _, count = str(self.ridge).partition(":")
        if kind == "pseudo" and count:
            return PseudoCounts(float(count))
        curvature = number("ridge", self.ridge)
        if curvature < 0.0:
            raise ValueError(f"`ridge` must be non-negative, or pseudo:COUNT; got {self.ridge}")
        return GaussianPrior(curvature**-0.5) if curvature else None

    @property
    def zero(self) -> tuple[str, float] | None:
        """What is pinned, and to what."""
        if self.anchor is None:
            return None
        what, _, value = self.anchor.partition(":")
        if what not in ANCHORS or not value:
            raise ValueError(f"`anchor` must be such as mean:0, one of {', '.join(ANCHORS)}; got {self.anchor!r}")
        return what, float(value)

    def nats(self, scores: FloatArray) -> FloatArray:
        """Scores as utilities, up to a constant."""
        if self.scale == "odds":
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(np.log(scores))
        return scores / self.unit

    @property
    def unit(self) -> float:
        """Units of a score in a nat."""
        return ELO if self.scale == "elo" else float(self.scale)

    def pinned(self, votes: Votes) -> int | None:
        """The item to which others are compared, if one is pinned."""
        order = sorted(range(len(votes.names)), key=votes.names.__getitem__)
        return {"first": order[0], "last": order[-1]}.get(self.zero[0]) if self.zero else None


def optimum(votes: Votes, ties: str | None = "half", prior: Prior | None = None) -> ComparisonFit:
    """The certified estimate; `ties` None stands for votes without any."""
    tied = votes.outcome == TIE
    if ties == "drop":
        votes, tied = votes.rows(~tied), tied[~tied]
    right_won = votes.outcome == 1
    winner, loser = np.where(right_won, votes.right, votes.left), np.where(right_won, votes.left, votes.right)
    model: Any = ties if ties in TIE_MODELS else "half"
    return fit_comparisons(
        winner, loser, votes.weights, ties=tied, tie_model=model, support=range(len(votes.names)), prior=prior
    )


def score_residual(votes: Votes, utilities: FloatArray, prior: Prior | None) -> FloatArray:
    """Wins less expected wins, less the prior's slope, of each item, over its comparisons."""
    wins = votes.wins
    expected = (wins + wins.T) * expit(np.subtract.outer(utilities, utilities))
    result = wins.sum(axis=1) - expected.sum(axis=1)
    if prior is not None:
        # The prior knows where zero is; the scores do not say.
        at = brentq(lambda c: float(prior.slope(utilities + c).sum()), -1e3, 1e3)
        result -= prior.slope(utilities + at)
    return np.asarray(result / (wins + wins.T).sum(axis=1))
