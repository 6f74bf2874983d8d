"""Hypothesis strategies for answers to prompts: ragged groups, distributions of each, and problems over them."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import strategies as st

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel
from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.proposals import PairListProposal
from pbde_ref.strategies.objects import Problem, generators, pbdes, utilities, vectors

__all__ = ["conditional_distributions", "prompt_problems", "prompts"]


@cache
@st.composite
def prompts(draw: st.DrawFn, max_prompts: int = 5, max_answers: int = 6, *, degenerate: bool = False) -> Prompts:
    """Two prompts or more with different numbers of answers, from 2; with `degenerate`, perhaps one, or all alike.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(prompts(), lambda prompts: True).start
    array([0, 3, 5])
    """
    many = draw(st.lists(st.integers(0, max_answers - 2), min_size=1 if degenerate else 2, max_size=max_prompts))
    pattern = np.zeros(len(many), dtype=int) if degenerate else 1 - np.arange(len(many)) % 2
    sizes = 2 + (np.array(many) + pattern) % (max_answers - 1)
    if not degenerate and (sizes == sizes[0]).all():
        sizes[1] = 2 + (sizes[0] - 1) % (max_answers - 1)
    return Prompts(np.repeat(np.arange(sizes.size), sizes))


@cache
@st.composite
def conditional_distributions(
    draw: st.DrawFn, support: Prompts | None = None, *, zeros: bool = False, extremes: bool = False,
    degenerate: bool = False,
) -> ConditionalDistribution:  # fmt: skip
    """As `distributions`, at every prompt; with `zeros`, never all answers to one.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(conditional_distributions(), lambda p: True).pmf.round(3)
    array([0.002, 0.975, 0.023, 0.002, 0.998])
    """
    support = draw(prompts(degenerate=degenerate)) if support is None else support
    logits = draw(vectors(support.size, -1000.0 if extremes else -10.0, 0.0, degenerate=degenerate))
    if zeros:
        kept = np.array(draw(st.lists(st.booleans(), min_size=support.size, max_size=support.size)))
        kept[support.start[:-1]] |= ~np.logical_or.reduceat(kept, support.start[:-1])
        logits = np.where(kept, logits, -np.inf)
    return ConditionalDistribution(logits, support)


@st.composite
def prompt_problems(
    draw: st.DrawFn, *, zeros: bool = False, extremes: bool = False, connected: bool = False, single: bool = False,
    degenerate: bool = False,
) -> Problem:  # fmt: skip
    """An annotator of answers to prompts, or a mixture of two, utilities, and pairs with weights over two decades.

    Some pairs are never asked, and some prompts; with `connected`, each prompt's answers are joined by pairs. No two
    answers of probability zero are compared. A single annotator with `single` or `zeros`.

    Examples
    --------
    >>> from hypothesis import given
    >>> import pbde_ref as pb
    >>> @given(prompt_problems())
    ... def kl_is_not_negative(problem):
    ...     assert pb.expected_kl(*problem).value >= 0.0
    >>> kl_is_not_negative()
    """
    p = draw(conditional_distributions(zeros=zeros, extremes=extremes, degenerate=degenerate))
    support, n = p.support, p.support.size
    processes = pbdes(n, degenerate=degenerate)
    annotator: PreferenceModel = Annotator(p, draw(processes))
    if not (single or zeros) and draw(st.booleans()):
        other = draw(conditional_distributions(support, extremes=extremes, degenerate=degenerate))
        annotator = AnnotatorMixture([0.375, 0.625], [annotator, Annotator(other, draw(processes))])
    a, b = support.pairs()
    rng = draw(generators)
    # An answer of positive mass, the likeliest, is met by all others of its prompt.
    best = np.array([start + int(np.argmax(p.log_pmf[start:stop]))
                     for start, stop in zip(support.start, support.start[1:], strict=False)])  # fmt: skip
    star = ((a == best[support.number[a]]) | (b == best[support.number[b]])) & (a != b)
    asked = (rng.random(a.size) < 0.6) | (star & connected)
    asked[int(np.argmax(star))] = True
    if zeros:
        excluded = np.isneginf(p.log_pmf)
        asked &= ~(excluded[a] & excluded[b]) | (a == b)
    proposal = PairListProposal(a[asked], b[asked], 10.0 ** rng.uniform(-2.0, 0.0, int(asked.sum())))
    return Problem(annotator, draw(utilities(n, 1000.0 if extremes else 10.0, degenerate=degenerate)), proposal)
