"""Samples of several prompts, and trainers that mix prompts up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from pbde_ref.conditional import Prompts
from pbde_ref.oracle.training.rivals import Family, fit_family, spread
from pbde_ref.oracle.training.samples import Comparisons, Sample, draw_one_prompt, has_an_optimum, optimizer_of
from pbde_ref.pbde import luce
from pbde_ref.prompts import LogLinearPolicies, minimize_log_linear
from pbde_ref.proposals import PairListProposal
from pbde_ref.validation import FloatArray, vector

__all__ = ["PromptSample", "draw_prompts", "draw_sample"]

ATTEMPTS = 50

# How many tolerances another objective must stay away: a policy that passes is nearer to the declared one.
APART = 2.0


@dataclass(frozen=True, eq=False)
class PromptSample:
    """Samples of several prompts as one: answers numbered through, comparisons in any order."""

    loss: str
    conventions: Mapping[str, Any]
    prompts: Prompts
    parts: list[Sample]
    comparisons: Comparisons

    @cached_property
    def reference(self) -> FloatArray:
        """Log-probabilities given the prompt."""
        return np.concatenate([part.reference for part in self.parts])

    @cached_property
    def optima(self) -> tuple[FloatArray, FloatArray]:
        """As of a `Sample`, prompt by prompt."""
        sample, population = zip(*(part.optima for part in self.parts), strict=True)
        return np.concatenate(sample), np.concatenate(population)

    @cached_property
    def families(self) -> list[Family]:
        """Those that the prompts have, at one parameter for all, and what mixes prompts up."""
        joined = [
            replace(alike[0], base=np.concatenate([f.base for f in alike]),
                    direction=np.concatenate([f.direction for f in alike]) if alike[0].direction is not None else None)
            for alike in zip(*(part.families for part in self.parts), strict=True)
        ]  # fmt: skip
        found = [*joined, *self._mixed_up(joined)]
        centred = self.prompts.centred
        return [replace(f, base=centred(f.base), direction=None if f.direction is None else centred(f.direction))
                for f in found]  # fmt: skip

    def _mixed_up(self, joined: list[Family]) -> list[Family]:
        """What shows where each prompt has parameters of its own.

        Normalisers cancel where f is the same for both answers, and so do the prompts' weights; only lengths, and a
        regulariser, let slips there show.
        """
        prompts, loss = self.prompts, self.loss
        if loss == "length_normalized":
            name = f"{loss}, normalised over other answers than the prompt's, such as those of all prompts"
            own = prompts.number[:, None] == np.arange(len(self.parts))
            return [Family(name, self.optima[0], own * np.asarray(self.conventions["lengths"])[:, None])]
        if loss == "slic" and self.conventions.get("lambda_"):
            even = self.comparisons.chosen.size / len(self.parts)
            optima = [
                replace(p, conventions={**p.conventions, "lambda_": p.conventions["lambda_"] * even / p.wins.sum()})
                .optima[0] for p in self.parts
            ]  # fmt: skip
            return [Family(f"{loss} with a regulariser that weighs all prompts alike", np.concatenate(optima), None)]
        usual = {"dpo": "DPO", "luce": "the Luce rule (DPO without the reference)", "ipo": "IPO"}.get(loss)
        declared = next((f for f in joined if f.objective == usual), None)
        if declared is None or self.conventions.get("label_smoothing"):
            return []
        slot = np.arange(prompts.size) - prompts.start[prompts.number]
        shared, pairs = np.eye(prompts.size)[slot], PairListProposal(*self.comparisons)
        if loss == "ipo":
            rows = shared[self.comparisons.chosen] - shared[self.comparisons.rejected]
            along = shared @ np.linalg.lstsq(rows, np.ones(len(rows)))[0]
        else:
            along = minimize_log_linear(LogLinearPolicies(shared, prompts), None, pairs, luce()).utilities
        found = [("one policy for all prompts, answers numbered within each", declared.base, along)]
        if loss != "luce":
            first = self.reference[slot % int(prompts.start[1])]
            found.append(("the first prompt's reference at all of them", first, declared.direction))
        return [replace(declared, objective=f"{usual} with {name}", base=base, direction=along)
                for name, base, along in found]  # fmt: skip


def draw_prompts(
    loss: str, conventions: Mapping[str, Any], sizes: Sequence[int], n_comparisons: int, rng: np.random.Generator
) -> PromptSample:
    """A Luce population at each prompt, some prompts asked more often than others.

    Examples
    --------
    >>> sample = draw_prompts("dpo", {"beta": 0.5}, [3, 5], 1000, np.random.default_rng(0))
    >>> sample.prompts.start, sample.reference.size, [int(part.wins.sum()) for part in sample.parts]
    (array([0, 3, 8]), 8, [461, 539])
    """
    prompts = Prompts(np.repeat(np.arange(len(sizes)), sizes))
    counts = rng.multinomial(n_comparisons, rng.dirichlet(np.full(len(sizes), 8.0)))
    lengths = vector("lengths", conventions["lengths"], size=prompts.size) if "lengths" in conventions else None
    parts = []
    for start, size, count in zip(prompts.start, sizes, counts, strict=False):
        own = {} if lengths is None else {"lengths": lengths[start : start + size]}
        parts.append(draw_one_prompt(loss, {**conventions, **own}, size, int(count), rng))
    order = rng.permutation(n_comparisons)
    chosen, rejected = (
        np.concatenate([part.comparisons[side] + start for part, start in zip(parts, prompts.start, strict=False)])
        for side in (0, 1)
    )
    return PromptSample(loss, conventions, prompts, parts, Comparisons(chosen[order], rejected[order]))


def draw_sample(
    loss: str, conventions: Mapping[str, Any], sizes: int | Sequence[int], n_comparisons: int, seed: int,
    tolerance: float,
) -> Sample | PromptSample:  # fmt: skip
    """The first sample of the seed's sequence that has a finite optimum which no other objective comes near.

    Examples
    --------
    >>> sample = draw_sample("dpo", {"beta": 0.5}, 8, 4000, seed=0, tolerance=0.02)
    >>> sample.comparisons.chosen[:5], sample.wins.sum()
    (array([7, 7, 1, 7, 7]), np.float64(4000.0))
    """
    optimizer_of(loss, conventions)
    draw: Any = draw_one_prompt if isinstance(sizes, int) else draw_prompts
    for attempt in range(ATTEMPTS):
        sample = draw(loss, conventions, sizes, n_comparisons, np.random.default_rng([seed, attempt]))
        if all(map(has_an_optimum, sample.parts)) and _tells_objectives_apart(sample, tolerance):
            return sample
    raise ValueError(
        f"`n_comparisons` must be large enough for a sample with a finite optimum that no other objective comes "
        f"within twice the tolerance of, {tolerance:g}; {ATTEMPTS} samples of {n_comparisons} comparisons of "
        f"{sizes} outcomes had none"
    )


def _tells_objectives_apart(sample: Sample | PromptSample, tolerance: float) -> bool:
    """Whether every objective whose optimum is another than the declared one stays away from it."""
    optimum = sample.prompts.centred(sample.optima[0])
    unit = spread(optimum - sample.prompts.centred(sample.reference))
    distances = (fit_family(family, optimum, unit).distance for family in sample.families)
    # Some objectives have the same optimum: the geometric loss at α = 1 and the Luce rule.
    return all(distance < 1e-6 or distance > APART * tolerance for distance in distances)
