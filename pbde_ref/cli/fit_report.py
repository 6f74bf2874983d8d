"""Estimates as words: a table that fits a terminal, and a record for other programs."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np

from pbde_ref.cli.arguments import as_written
from pbde_ref.cli.arguments import table as columns
from pbde_ref.estimation.annotator_models import AnnotatorModels
from pbde_ref.estimation.ranking import Ranking
from pbde_ref.estimation.result import ComparisonFit, interval_reach
from pbde_ref.estimation.table import ComparisonTable

__all__ = [
    "about", "each_table", "effect_table", "item_table", "label", "model_table", "models_record", "record", "summary",
    "understood",
]  # fmt: skip

# Together with the numbers this fills 80 columns.
LABEL_WIDTH, WIDTH = 22, 79
TIES = {
    "half": "half a win of either side, which pulls utilities together",
    "drop": "left out",
    "davidson": "Davidson's model, P(tie) = exp(tie) √(P(A) P(B))",
    "rao-kupper": "Rao and Kupper's model, P(A) = σ(ω_A − ω_B − threshold)",
    "last": "the order of those that come last together is left open",
    "error": "",
}
ERRORS = {
    "fisher": "Fisher information",
    "sandwich": "sandwich of scores, for half a win is no comparison",
    "clustered": "sandwich of scores added up by cluster",
    "rows": "sandwich of scores added up by row",
}
EFFECTS = {"order": "standing on the left", "tie": "", "threshold": "lead that wins"}


def understood(table: ComparisonTable, others: int) -> str:
    """What the file's columns were taken for, and its first rows."""
    lines = [about(table), *(f"  {row}" for row in table.sample)]
    if others > 0:
        lines.append(f"  … {others:,} more rows")
    return "\n".join(lines)


def about(table: ComparisonTable) -> str:
    """What the file's columns were taken for."""
    return "" if table.roles is None else textwrap.shorten(str(table.roles), WIDTH, placeholder=" …")


def summary(
    fit: ComparisonFit, table: ComparisonTable, tie_model: str, other: ComparisonFit | None = None,
    intervals: str | None = None,
) -> str:  # fmt: skip
    """What was read and how the fit went, in a few lines; `other` is a fit in which ties are ties."""
    ties = f", {table.n_ties:,} of them {'with ' if table.rankings else ''}ties" if table.n_ties else ""
    lines = [
        about(table),
        f"{table.n_rows:,} rows{ties}; {fit.n_comparisons:,.10g} comparisons of {fit.utilities.size:,} items",
        f"estimate: {'maximum likelihood' if fit.prior is None else f'posterior mode; prior {fit.prior}'}",
    ]
    if table.n_ties:
        lines.append(f"ties: {TIES[tie_model]}")
        if other is not None:
            spans = [float(np.ptp(one.utilities)) for one in (fit, other)]
            lines.append(f"  utilities span {spans[0]:.3g} nats, with --ties davidson {spans[1]:.3g}")
    kind = "rows" if fit.error_kind == "clustered" and table.repeats is not None else fit.error_kind
    coin = " (a coin: 0.6931)" if not fit.effects else ""
    lines += [
        f"log-likelihood {fit.log_likelihood:.6g} nats, {-fit.log_likelihood / fit.n_comparisons:.4f} lost per "
        f"comparison{coin}",
        f"{'converged' if fit.converged else 'NOT CONVERGED'} in {fit.steps} steps; gradient per comparison "
        f"{fit.criterion:.0e}, next step {fit.remaining:.0e}",
        f"errors: {intervals or ERRORS[kind]}",
    ]
    if (groups := int(fit.components.max()) + 1) > 1:
        between = "the prior alone compares them" if fit.prior is not None else "utilities have mean 0 in each"
        lines.append(f"{groups} groups without a comparison between them: {between}")
    if fit.dropped:
        names = ", ".join(label(name) for name in fit.dropped[:5])
        more = f" and {len(fit.dropped) - 5} more" if len(fit.dropped) > 5 else ""
        lines.append(f"left out for having no finite estimate: {names}{more}")
    return "\n".join(filter(None, lines))


def effect_table(fit: ComparisonFit, level: float) -> str:
    """What columns beside the items contribute."""
    reach, errors = interval_reach(level), fit.effect_errors()
    rows = [
        [label(name, 30), f"{value:.4f}", f"{errors[name]:.4f}",
         f"[{value - reach * errors[name]:.3f}, {value + reach * errors[name]:.3f}]", EFFECTS.get(name, "per unit")]
        for name, value in fit.effects.items()
    ]  # fmt: skip
    headers = ["effect", "nats", "error", f"{100 * level:g} % interval", ""]
    return columns(rows, headers, colalign=("left", "right", "right", "right", "left"))


def item_table(fit: ComparisonFit, ranked: Ranking, most: int, elo: bool = False) -> str:
    """The first `most` items, best first, in 80 columns; as ratings around 1,000 in units of Elo, if asked."""
    unit, zero, digits = (400.0 / math.log(10.0), 1000.0, (1, 0)) if elo else (1.0, 0.0, (4, 3))
    rows = []
    for place, item in enumerate(ranked.order[:most].tolist()):
        low, high = zero + unit * ranked.intervals[place]
        best, worst = ranked.ranks[place].tolist() if place < len(ranked.ranks) else (place + 1, place + 1)
        rows.append(
            [
                f"{best}" if best == worst else f"{best}–{worst}",
                label(fit.distribution.support[item]),
                f"{zero + unit * ranked.utilities[place]:.{digits[0]}f}",
                "" if math.isnan(low) else f"[{low:.{digits[1]}f}, {high:.{digits[1]}f}]",
                f"{fit.distribution.pmf[item]:.3g}",
                f"{fit.comparisons[item]:.7g}",
            ]
        )
    at = f" ({label(ranked.reference)} at {zero:g})" if ranked.reference is not None else ""
    what = "ratings in units of Elo" if elo else "utilities in nats"
    title = textwrap.fill(f"{what}{at} and implicit preference distribution p", WIDTH) + "\n\n"
    order, score = "rank" if len(ranked.ranks) else "place", "rating" if elo else "utility"
    headers = [order, "item", score, f"{100 * ranked.level:g} % interval", "p", "n"]
    text = columns(rows, headers, colalign=("right", "left", "right", "left", "right", "right"))
    missing = ranked.order.size - len(rows)
    return title + text + (f"\n\n{missing:,} more items; --top 0 shows all" if missing > 0 else "")


def model_table(models: AnnotatorModels, n_annotators: int) -> str:
    """How the models predict held-out comparisons, in 80 columns, and which one does it best."""
    each = f"one for each of {n_annotators:,}"
    what = {"pooled": "one utility for all", "mixture": "unknown annotators", "each": each}
    rows = [
        [name, what[name], f"{models.parameters[name]:,}", f"{score.log_loss:.4f} ± {score.standard_error:.4f}",
         f"{score.calibration_error:.4f}"]
        for name, score in models.scores.items()
    ]  # fmt: skip
    headers = ["model", "", "parameters", "log-loss", "miscalibration"]
    text = columns(rows, headers, colalign=("left", "left", "right", "right", "right"))
    lead = f"by {models.margin:.4f} ± {models.margin_error:.4f} nats per comparison over {models.runner_up!r}"
    first = f"describes them best, {lead}" if models.clear else f"is ahead {lead}: no clear difference"
    verdict = textwrap.fill(f"{models.best!r} {first}", WIDTH)
    for name, score in models.scores.items():
        if score.log_loss > math.log(2.0):
            verdict += f"\n{name!r} is of no use: it predicts worse than a coin"
    for name in models.unfinished:
        verdict += f"\n{name!r} did not converge: its numbers are not those of its best fit"
    calibrated = min(models.scores, key=lambda name: (name in models.unfinished, models.scores[name].calibration_error))
    return (
        f"{models.n_held_out:,.10g} held-out comparisons, predicted from {models.n_train:,.10g} others; "
        f"a coin: 0.6931\n\n{text}\n\n{verdict}\n{calibrated!r} is calibrated best"
    )


def each_table(models: AnnotatorModels, most: int) -> str:
    """Each annotator's first three items with their utilities and errors, in 80 columns; the busiest first."""
    busy = sorted(models.each.items(), key=lambda named: -named[1].n_comparisons)
    rows = []
    for name, fit in busy[:most]:
        order = np.argsort(-fit.utilities, kind="stable")[:3]
        names, errors = fit.distribution.support[order].tolist(), fit.standard_errors(order)
        first = zip(names, fit.utilities[order], errors, strict=True)
        said = " > ".join(f"{label(item, 9)} {value:.2f} ± {error:.2f}" for item, value, error in first)
        rows.append([label(name, 10), f"{fit.n_comparisons:.6g}", said])
    text = columns(rows, ["annotator", "n", "first three, utilities in nats"])
    return text + (f"\n\n{more:,} more annotators; --top 0 shows all" if (more := len(busy) - len(rows)) > 0 else "")


def record(fit: ComparisonFit, table: ComparisonTable, ranked: Ranking) -> dict[str, Any]:
    """Everything about a fit, for JSON; what is infinite or was not computed is None."""
    items = [
        {
            "item": _plain(fit.distribution.support[item]),
            "utility": float(ranked.utilities[place]),
            "standard_error": _finite(ranked.errors[place]),
            "low": _finite(ranked.intervals[place, 0]),
            "high": _finite(ranked.intervals[place, 1]),
            "ranks": ranked.ranks[place].tolist() if place < len(ranked.ranks) else None,
            "probability": float(fit.distribution.pmf[item]),
            "log_probability": _finite(fit.distribution.log_pmf[item]),
            "comparisons": float(fit.comparisons[item]),
            "wins": float(fit.wins[item]),
            "component": int(fit.components[item]),
        }
        for place, item in enumerate(ranked.order.tolist())
    ]
    return {
        "rows": table.n_rows, "ties": table.n_ties, "bad_lines": table.n_bad, "comparisons": fit.n_comparisons,
        "prior": None if fit.prior is None else str(fit.prior),
        "log_likelihood": fit.log_likelihood, "log_prior": fit.log_prior, "gradient_per_comparison": fit.criterion,
        "next_step": fit.remaining, "converged": fit.converged, "steps": fit.steps,
        "components": int(fit.components.max()) + 1,
        "dropped": [_plain(name) for name in fit.dropped],
        "effects": {name: {"value": value, "standard_error": _finite(fit.effect_errors()[name])}
                    for name, value in fit.effects.items()},
        "errors": fit.error_kind,
        "read_as": None if table.roles is None else str(table.roles),
        "notes": [note.spelled(command_line=True) for note in table.notes],
        "reference": ranked.reference,
        "level": ranked.level,
        "items": items,
    }  # fmt: skip


def models_record(models: AnnotatorModels) -> dict[str, Any]:
    """Everything about the models of several annotators, for JSON."""
    support = models.pooled.distribution.support
    mixture = models.mixture
    return {
        "comparisons": models.n_train,
        "held_out": models.n_held_out,
        "best": models.best,
        "runner_up": models.runner_up,
        "margin": models.margin,
        "margin_error": models.margin_error,
        "clear": models.clear,
        "unfinished": list(models.unfinished),
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
        "mixture": {"weights": mixture.weights.tolist(), "items": [_plain(name) for name in support],
                    "utilities": mixture.utilities.tolist(), "converged": mixture.converged},
    }


def label(name: Any, width: int = LABEL_WIDTH) -> str:
    """A label that fits, without characters that a terminal would obey."""
    text = "".join(letter if letter.isprintable() else "�" for letter in str(name))
    text, more = as_written(text), as_written("…")
    return text if len(text) <= width else text[: width - len(more)] + more


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
