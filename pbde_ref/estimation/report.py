"""Estimates as words: a table that fits a terminal, and a record for other programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from pbde_ref.estimation.annotator_models import MIXTURE_LIMIT, AnnotatorModels
from pbde_ref.estimation.result import ComparisonFit, interval_reach
from pbde_ref.estimation.newton import DENSE_LIMIT
from pbde_ref.estimation.table import ComparisonTable
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["Ranking", "item_table", "model_table", "models_record", "ranking", "record", "summary"]

# Together with the numbers this fills 80 columns.
LABEL_WIDTH = 22


@dataclass(frozen=True, eq=False)
class Ranking:
    """Items in order of utility, best first, with errors where they were computed and NaN elsewhere.

    Attributes
    ----------
    order : ndarray of int, shape (n,)
        Indices of the items.
    utilities, errors : ndarray, shape (n,)
        In that order, relative to the reference, or to their mean.
    intervals : ndarray, shape (n, 2)
    level : float
        Of the intervals.
    reference : str or None
        Label of the item at zero.
    """

    order: IndexArray
    utilities: FloatArray
    errors: FloatArray
    intervals: FloatArray
    level: float
    reference: str | None


def ranking(fit: ComparisonFit, level: float, reference: int | None, most: int) -> Ranking:
    """Rank the items; beyond 4,096 of them only the first `most` get errors."""
    size = fit.utilities.size
    order = np.argsort(-fit.utilities, kind="stable")
    known = np.arange(size) if size <= DENSE_LIMIT else np.arange(min(most, size))
    errors, intervals = np.full(size, math.nan), np.full((size, 2), math.nan)
    if known.size:
        everything = known.size == size
        chosen = order[known]
        found = fit.confidence_intervals(level, None if everything else chosen, relative_to=reference)
        intervals[known] = found[chosen] if everything else found
        errors[known] = 0.5 * np.ptp(intervals[known], axis=1) / interval_reach(level)
    utilities = fit.relative_utilities(reference)[order]
    name = None if reference is None else str(fit.distribution.support[reference])
    return Ranking(order, utilities, errors, intervals, level, name)


def summary(fit: ComparisonFit, table: ComparisonTable) -> str:
    """What was read and how the fit went, in a few lines."""
    ties = f", {table.n_ties:,} of them ties" if table.n_ties else ""
    lines = [
        f"{table.n_rows:,} rows{ties}; {fit.n_comparisons:,.10g} comparisons of {fit.utilities.size:,} items",
        f"estimate: {'maximum likelihood' if fit.prior is None else f'posterior mode; prior {fit.prior}'}",
        f"log-likelihood {fit.log_likelihood:.6g} nats, {-fit.log_likelihood / fit.n_comparisons:.4f} lost per "
        "comparison (a coin: 0.6931)",
        f"{'converged' if fit.converged else 'NOT CONVERGED'} in {fit.steps} steps; gradient per comparison "
        f"{fit.criterion:.0e}, next step {fit.remaining:.0e}",
    ]
    groups = int(fit.components.max()) + 1
    if groups > 1:
        between = "the prior alone compares them" if fit.prior is not None else "utilities have mean 0 in each"
        lines.append(f"{groups} groups without a comparison between them: {between}")
    if fit.dropped:
        names = ", ".join(label(name) for name in fit.dropped[:5])
        more = f" and {len(fit.dropped) - 5} more" if len(fit.dropped) > 5 else ""
        lines.append(f"left out for having no finite estimate: {names}{more}")
    return "\n".join(lines)


def item_table(fit: ComparisonFit, ranked: Ranking, most: int) -> str:
    """The first `most` items, best first, in 80 columns."""
    rows = []
    for place, item in enumerate(ranked.order[:most].tolist()):
        low, high = ranked.intervals[place]
        rows.append(
            [
                place + 1,
                label(fit.distribution.support[item]),
                f"{ranked.utilities[place]:.4f}",
                "" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]",
                f"{fit.distribution.pmf[item]:.3g}",
                f"{fit.comparisons[item]:.7g}",
            ]
        )
    zero = f" ({label(ranked.reference)} at 0)" if ranked.reference is not None else ""
    title = f"utilities in nats{zero} and implicit preference distribution p\n\n"
    headers = ["", "item", "utility", f"{100 * ranked.level:g} % interval", "p", "n"]
    align = ("right", "left", "right", "left", "right", "right")
    text = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    missing = ranked.order.size - len(rows)
    return title + text + (f"\n\n{missing:,} more items; --top 0 shows all" if missing > 0 else "")


def model_table(models: AnnotatorModels, n_annotators: int) -> str:
    """How the models predict held-out comparisons, in 80 columns, and which one does it best."""
    what = {
        "pooled": "one utility for all",
        "each": f"one for each of {n_annotators:,}",
        "mixture": "unknown annotators",
    }
    rows = [
        [name, what[name], f"{models.parameters[name]:,}", f"{score.log_loss:.4f} ± {score.standard_error:.4f}",
         f"{score.calibration_error:.4f}"]
        for name, score in models.scores.items()
    ]  # fmt: skip
    headers = ["model", "", "parameters", "log-loss", "miscalibration"]
    align = ("left", "left", "right", "right", "right")
    text = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    lead = f"by {models.margin:.4f} ± {models.margin_error:.4f} nats per comparison over {models.runner_up!r}"
    verdict = f"{models.best!r} describes them best, {lead}" if models.clear else (
        f"{models.best!r} is ahead {lead}: no clear difference"
    )  # fmt: skip
    if models.mixture is None:
        verdict += f"\nthe mixture is left out beyond {MIXTURE_LIMIT} items"
    calibrated = min(models.scores, key=lambda name: models.scores[name].calibration_error)
    return (
        f"{models.n_held_out:,.10g} held-out comparisons, predicted from {models.n_train:,.10g} others; "
        f"a coin: 0.6931\n\n{text}\n\n{verdict}\n{calibrated!r} is calibrated best"
    )


def record(fit: ComparisonFit, table: ComparisonTable, ranked: Ranking) -> dict[str, Any]:
    """Everything about a fit, for JSON; what is infinite or was not computed is None."""
    items = [
        {
            "item": _plain(fit.distribution.support[item]),
            "utility": float(ranked.utilities[place]),
            "standard_error": _finite(ranked.errors[place]),
            "low": _finite(ranked.intervals[place, 0]),
            "high": _finite(ranked.intervals[place, 1]),
            "probability": float(fit.distribution.pmf[item]),
            "log_probability": _finite(fit.distribution.log_pmf[item]),
            "comparisons": float(fit.comparisons[item]),
            "wins": float(fit.wins[item]),
            "component": int(fit.components[item]),
        }
        for place, item in enumerate(ranked.order.tolist())
    ]
    return {
        "rows": table.n_rows,
        "ties": table.n_ties,
        "bad_lines": table.n_bad,
        "comparisons": fit.n_comparisons,
        "prior": None if fit.prior is None else str(fit.prior),
        "log_likelihood": fit.log_likelihood,
        "log_prior": fit.log_prior,
        "gradient_per_comparison": fit.criterion,
        "next_step": fit.remaining,
        "converged": fit.converged,
        "steps": fit.steps,
        "components": int(fit.components.max()) + 1,
        "dropped": [_plain(name) for name in fit.dropped],
        "reference": ranked.reference,
        "level": ranked.level,
        "items": items,
    }


def models_record(models: AnnotatorModels) -> dict[str, Any]:
    """Everything about the models of several annotators, for JSON."""
    mixture = None
    if models.mixture is not None:
        support = models.pooled.distribution.support
        mixture = {
            "weights": models.mixture.weights.tolist(),
            "items": [_plain(name) for name in support],
            "utilities": models.mixture.utilities[:, : support.size].tolist(),
            "converged": models.mixture.converged,
        }
    return {
        "comparisons": models.n_train,
        "held_out": models.n_held_out,
        "best": models.best,
        "runner_up": models.runner_up,
        "margin": models.margin,
        "margin_error": models.margin_error,
        "clear": models.clear,
        "scores": {
            name: {
                "parameters": models.parameters[name],
                "log_loss": score.log_loss,
                "standard_error": score.standard_error,
                "calibration_error": score.calibration_error,
                "confidence": score.confidence.tolist(),
                "hit_rate": score.hit_rate.tolist(),
                "share": score.share.tolist(),
            }
            for name, score in models.scores.items()
        },
        "each": {
            str(name): dict(zip(map(str, fit.distribution.support.tolist()), fit.utilities.tolist(), strict=True))
            for name, fit in models.each.items()
        },
        "mixture": mixture,
    }


def label(name: Any, width: int = LABEL_WIDTH) -> str:
    """A label that fits, without characters that a terminal would obey."""
    text = "".join(letter if letter.isprintable() else "�" for letter in str(name))
    return text if len(text) <= width else text[: width - 1] + "…"


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
