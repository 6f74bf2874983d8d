r"""What a fitter is held against: the certified maximum of the likelihood, and of a prior if it says so.

.. math:: \hat\omega = \arg\max_\omega \sum_m w_m \log \sigma(\omega_{\text{winner}} - \omega_{\text{loser}})
          - \tfrac{c}{2} \sum_i \omega_i^2
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from pbde_ref.estimation.likelihood import TIE_MODELS, fit_comparisons
from pbde_ref.estimation.priors import GaussianPrior, Prior, PseudoCounts
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.oracle.fitters.votes import TIE, Votes
from pbde_ref.validation import FloatArray, choice, instance, non_negative_number, number, positive_number, shown

__all__ = ["ANCHORS", "ELO", "Declared", "optimum", "score_residual"]

ELO = 400.0 / math.log(10.0)
ANCHORS = ("mean", "sum", "first", "last")
TIES = ("drop", *TIE_MODELS)


def _worded(name: str, text: Any, words: Sequence[str], such_as: str) -> tuple[str, float]:
    """A word and a number, with a colon between them."""
    instance(name, text, str, f"text such as {such_as}")
    word, _, value = text.partition(":")
    try:
        return choice(name, word, words), number(name, float(value))
    except ValueError:
        raise ValueError(f"`{name}` must be such as {such_as}, one of {', '.join(words)}; got {shown(text)}") from None


@dataclass(frozen=True)
class Declared:
    """What a fitter is said to compute; see `check_fitter`."""

    ties: str | None = None
    scale: float | str = 1.0
    ridge: float | str = 0.0
    anchor: str | None = None
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if self.ties is not None:
            choice("ties", self.ties, TIES)
        if isinstance(self.scale, str):
            choice("scale", self.scale, ("odds", "elo"))
        else:
            object.__setattr__(self, "scale", positive_number("scale", self.scale))
        if not isinstance(self.ridge, str):
            object.__setattr__(self, "ridge", non_negative_number("ridge", self.ridge))
        object.__setattr__(self, "tolerance", number("tolerance", self.tolerance))
        if not 1e-9 <= self.tolerance <= 0.1:
            raise ValueError(f"`tolerance` must be from 1e-9 to 0.1 nats; got {self.tolerance}")
        _ = self.prior, self.zero

    @property
    def prior(self) -> Prior | None:
        """The prior that `ridge` stands for."""
        if isinstance(self.ridge, str):
            _, count = _worded("ridge", self.ridge, ("pseudo",), "pseudo:0.5")
            return PseudoCounts(count)
        return GaussianPrior(self.ridge**-0.5) if self.ridge else None

    @property
    def zero(self) -> tuple[str, float] | None:
        """What is pinned, and to what."""
        if self.anchor is None:
            return None
        return _worded("anchor", self.anchor, ANCHORS, "mean:0")

    def nats(self, scores: FloatArray) -> FloatArray:
        """Scores as utilities, up to a constant."""
        if self.scale == "odds":
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
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import brentq

    wins = votes.wins
    expected = (wins + wins.T) * expit(np.subtract.outer(utilities, utilities))
    result = wins.sum(axis=1) - expected.sum(axis=1)
    if prior is not None and np.isfinite(utilities).all():
        # The prior knows where zero is; the scores do not say, and theirs may be far away.
        at = brentq(lambda c: float(prior.slope(utilities + c).sum()), -utilities.max() - 1.0, 1.0 - utilities.min())
        result -= prior.slope(utilities + at)
    return np.asarray(result / (wins + wins.T).sum(axis=1))
