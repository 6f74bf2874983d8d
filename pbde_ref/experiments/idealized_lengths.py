r"""Table 2 and Fig. 6 (right) for idealised language models: finite sums and exact optima, no text and no training.

The *whole* model's lengths are a normal shape on 2 … 50 pieces. The *short* and *long* models are it on condition of
the lengths that they were trained on, at most 20 and at least 30 pieces, with little probability left outside.
Sentences of one length come in several difficulties, each with a perplexity of its own. The settings are chosen so that
the table comes close to the printed one; none is measured. Everything here takes about a second.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import ndtri

from pbde_ref.annotators import AnnotatorMixture
from pbde_ref.distributions import FiniteDistribution, mixture, truncated_normal
from pbde_ref.exact.lengths.length_bias import LENGTH_BINS, IdealizedLanguageModel, bin_members, length_bias_table
from pbde_ref.exact.lengths.sentence_classes import length_distribution, merged_process, projected_policy
from pbde_ref.exact.optima import optimal_policy
from pbde_ref.exact.results import Solution
from pbde_ref.numerics import log_normalize
from pbde_ref.pbde import PBDE, length_normalized, luce
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import FloatArray, non_negative_number, positive_number, whole_number

__all__ = [
    "PUBLISHED", "PUBLISHED_TABLE_2", "IdealizedFigure6", "IdealizedTable2", "bin_shares", "idealized_figure_6",
    "idealized_models", "idealized_table_2", "valley",
]  # fmt: skip

PUBLISHED: Mapping[str, Any] = tomllib.loads(files(__package__).joinpath("published.toml").read_text("utf-8"))
"""What the paper prints and its notebook draws."""

PUBLISHED_TABLE_2: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {name: (tuple(luce), tuple(normalized)) for name, (luce, normalized) in PUBLISHED["table_2"].items()}
)
"""The paper's Table 2: for each annotator Eq. (9) and Eq. (26), each with S ≻ M, S ≻ L and M ≻ L."""


@dataclass(frozen=True, eq=False)
class IdealizedTable2:
    """Table 2 for idealised models.

    Attributes
    ----------
    names : tuple of str
        The annotators, one for each row.
    scale : float
        c in Eq. (26).
    luce, normalized : ndarray, shape (3, 3)
        Eq. (9) and Eq. (26); columns S ≻ M, S ≻ L, M ≻ L.
    surprisal_range : ndarray, shape (3,)
        By how many nats per piece each annotator's surprisals differ among the sentences that *whole* can draw.
    """

    names: tuple[str, ...]
    scale: float
    luce: FloatArray
    normalized: FloatArray
    surprisal_range: FloatArray

    @property
    def largest_difference(self) -> float:
        """The largest distance of an entry from the printed one."""
        ours = np.stack([self.luce, self.normalized], axis=1)
        return float(np.abs(ours - np.array([PUBLISHED_TABLE_2[name] for name in self.names])).max())


@dataclass(frozen=True, eq=False)
class IdealizedFigure6:
    """Distributions of lengths before and after adapting *whole* to either population, Fig. 6.

    Attributes
    ----------
    whole, short, long : FiniteDistribution
        The models' own, Fig. 6 (left).
    annotator_mixture, density_mixture : FiniteDistribution
        The exact optima for Eq. (27) and Eq. (28), Fig. 6 (right).
    scale : float
    solution : Solution
        What certifies the utilities of the former.
    policy_error : float
        Upper bound on the total variation between `annotator_mixture` and the exact one.
    converged : bool
        Whether loss, utilities and policy are certified.
    """

    whole: FiniteDistribution
    short: FiniteDistribution
    long: FiniteDistribution
    annotator_mixture: FiniteDistribution
    density_mixture: FiniteDistribution
    scale: float
    solution: Solution
    policy_error: float
    converged: bool


def idealized_models(
    *,
    perplexity: float = 14.0,
    spread: float = 0.5,
    levels: int = 9,
    short_continuation: float = 7.0,
    long_ending: float = 14.0,
) -> dict[str, IdealizedLanguageModel]:
    r"""The *whole*, *short* and *long* models.

    Parameters
    ----------
    perplexity : float
        Of the sentences of middle difficulty.
    spread : float
        Standard deviation of the logarithm of the perplexity among sentences of one length, in nats per piece.
    levels : int
        Number of equally likely difficulties, which stand at the normal distribution's quantiles; with 1, all sentences
        of one length are equally likely.
    short_continuation : float
        What each piece beyond the twentieth costs the *short* model in length probability, in nats.
    long_ending : float
        What ending before the thirtieth piece costs the *long* model, in nats relative to ending at it.

    Returns
    -------
    dict of str to IdealizedLanguageModel
        On the same classes, one for each length and difficulty.

    Raises
    ------
    ValueError
        If a perplexity would be below 1, or a parameter is out of range.

    Examples
    --------
    >>> models = idealized_models(levels=1)
    >>> [round(float(model.class_pmf.pmf[model.lengths <= 20].sum()), 3) for model in models.values()]
    [0.334, 1.0, 0.0]
    """
    perplexity, spread = positive_number("perplexity", perplexity), non_negative_number("spread", spread)
    levels = whole_number("levels", levels, least=1)
    continuation = non_negative_number("short_continuation", short_continuation)
    ending = non_negative_number("long_ending", long_ending)
    lengths = np.arange(2.0, 51.0)
    whole = truncated_normal(lengths, loc=25.0, scale=11.0).log_pmf
    at = {int(length): float(value) for length, value in zip(lengths, whole, strict=True)}
    short = np.where(lengths <= 20, whole, at[20] - continuation * (lengths - 20))
    long = np.where(lengths >= 30, whole, at[30] - ending)
    difficulties = perplexity * np.exp(spread * ndtri((np.arange(levels) + 0.5) / levels))
    labels = [(int(length), level) for length in lengths for level in range(levels)]
    return {
        name: IdealizedLanguageModel(
            FiniteDistribution(np.repeat(log_normalize(log_pmf), levels), labels),
            np.tile(difficulties, lengths.size),
            np.repeat(lengths, levels),
        )
        for name, log_pmf in (("whole", whole), ("short", short), ("long", long))
    }


def idealized_table_2(
    models: Mapping[str, IdealizedLanguageModel] | None = None, *, scale: float = 50.0
) -> IdealizedTable2:
    """Table 2 as sums over classes of sentences.

    Parameters
    ----------
    models : mapping of str to IdealizedLanguageModel, optional
        With the keys *whole*, *short* and *long*. Default: `idealized_models`.
    scale : float
        c in Eq. (26).

    Examples
    --------
    With c = 50 every entry is near the printed one, with c = 1 as printed in Eq. (26) it is not:

    >>> [round(idealized_table_2(scale=scale).largest_difference, 2) for scale in (50.0, 1.0)]
    [0.06, 0.22]
    """
    models = idealized_models() if models is None else models
    whole = models["whole"]

    def table(process: PBDE) -> FloatArray:
        annotators = [model.annotator(process) for model in models.values()]
        return length_bias_table(annotators, whole.class_pmf, whole.lengths)

    drawn = whole.class_pmf.pmf > 0.0
    return IdealizedTable2(
        names=tuple(models),
        scale=scale,
        luce=table(luce()),
        normalized=table(length_normalized(whole.lengths, scale)),
        surprisal_range=np.array([np.ptp(model.surprisals[drawn]) for model in models.values()]),
    )


def idealized_figure_6(
    models: Mapping[str, IdealizedLanguageModel] | None = None, *, scale: float = 50.0
) -> IdealizedFigure6:
    r"""Fig. 6: where adapting *whole* to the annotator mixture (27) and to the density mixture (28) ends.

    Pairs are drawn from *whole* ⊗ *whole*, half of the answers come from *short*, half from *long*, and annotators and
    model all follow Eq. (26) with the same scale.

    Parameters
    ----------
    models, scale
        As in `idealized_table_2`.

    Examples
    --------
    Medium-length sentences: many under the annotator mixture, hardly any under the density mixture.

    >>> figure = idealized_figure_6(idealized_models(levels=1))
    >>> [round(bin_shares(p)["M"], 3) for p in (figure.annotator_mixture, figure.density_mixture)]
    [0.144, 0.0]
    """
    models = idealized_models() if models is None else models
    whole, short, long = models["whole"], models["short"], models["long"]
    normalized = length_normalized(whole.lengths, scale)
    annotators = [model.annotator(normalized) for model in (short, long)]
    process = merged_process(normalized, whole.log_counts)
    pooled = projected_policy(AnnotatorMixture([0.5, 0.5], annotators), process, ProductProposal(whole.class_pmf))
    # The classes' sentences are the same for both, so the mixture of densities is the mixture of class probabilities.
    both = IdealizedLanguageModel(
        mixture([0.5, 0.5], [short.class_pmf, long.class_pmf]), whole.perplexity, whole.lengths
    )
    single = optimal_policy(both.annotator(normalized), process)
    return IdealizedFigure6(
        whole=length_distribution(whole.class_pmf, whole.lengths),
        short=length_distribution(short.class_pmf, short.lengths),
        long=length_distribution(long.class_pmf, long.lengths),
        annotator_mixture=length_distribution(pooled.policy, whole.lengths),
        density_mixture=length_distribution(single, whole.lengths),
        scale=scale,
        solution=pooled.solution,
        # Merging classes into lengths moves no two distributions apart.
        policy_error=pooled.policy_error,
        converged=pooled.converged,
    )


def bin_shares(lengths: FiniteDistribution) -> dict[str, float]:
    """Probability of each of Table 2's bins under a distribution of lengths."""
    return {name: float(lengths.pmf[bin_members(lengths.support, name)].sum()) for name in LENGTH_BINS}


def valley(lengths: FiniteDistribution) -> float:
    """How deep a distribution of lengths dips: its least medium-length probability over the lower of the two peaks.

    Near 0 for a distribution with a mode on either side and nothing between, at least 1 for one that does not dip.
    """
    peaks = [float(lengths.pmf[bin_members(lengths.support, name)].max()) for name in ("S", "L")]
    return float(lengths.pmf[bin_members(lengths.support, "M")].min()) / min(peaks)
