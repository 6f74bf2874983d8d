"""The problems that claims are checked on: the paper's own, and seeded families that are nasty on purpose.

Each random problem has a stream of its own, named by seed, family and index, so that any one of them can be drawn
without the others, and a new family changes no old problem.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.paper_problem import paper_problem
from pbde_ref.pbde import PBDE, dpo, length_normalized, luce
from pbde_ref.proposals import JointProposal, PairListProposal, ProductProposal, Proposal
from pbde_ref.validation import FloatArray, instance, whole_number
from pbde_ref.verification.comparison_graphs import (
    bipartite,
    complete,
    diagonal,
    nearly_disconnected,
    path,
    star,
    tree,
    two_components,
)  # fmt: skip

__all__ = ["FAMILIES", "LARGEST", "PAPER", "Problem", "paper", "problem_named", "problem_names", "problems"]

PAPER = "Eq. (10)"
# Outcomes of the largest random problems, which dense and exact solvers manage in a moment.
LARGEST = 40


@dataclass(frozen=True, eq=False)
class Problem:
    r"""One setting of everything that the paper's claims speak of.

    Attributes
    ----------
    name : str
        The family and the index in it.
    run : int
        The seed that all problems of a run are drawn from.
    preference, reference : FiniteDistribution
        :math:`p^*` and :math:`\pi_{pre}`; the reference is positive.
    process, other_process : PBDE
        Two preference processes, the second with varying f.
    proposal : Proposal
        Compares no two outcomes of probability zero.
    mixture : AnnotatorMixture
        Two Luce annotators.
    rewards : ndarray, shape (n,)
    beta, alpha : float
    seed : int
        For what a check draws itself.
    """

    name: str
    run: int
    preference: FiniteDistribution
    reference: FiniteDistribution
    process: PBDE
    other_process: PBDE
    proposal: Proposal
    mixture: AnnotatorMixture
    rewards: FloatArray
    beta: float
    alpha: float
    seed: int

    @property
    def size(self) -> int:
        """Number of outcomes."""
        return len(self.preference)

    @cached_property
    def q(self) -> FloatArray:
        """How often A is compared with B, shape (n, n)."""
        return self.proposal.matrix(self.size)

    @property
    def luce(self) -> Annotator:
        """The annotator of Eq. (9)."""
        return Annotator(self.preference, luce())

    @property
    def annotator(self) -> Annotator:
        """The annotator of Eq. (11) with `process`."""
        return Annotator(self.preference, self.process)

    @property
    def members(self) -> list[Annotator]:
        """The annotators of `mixture`."""
        return [annotator for annotator in self.mixture.annotators if isinstance(annotator, Annotator)]

    @property
    def positive(self) -> bool:
        """Whether every outcome has positive probability."""
        return bool(np.isfinite(self.preference.log_pmf).all())


def problems(size: int, seed: int, repetitions: int = 2) -> list[Problem]:
    """The paper's problem on a grid of `size` points, then `repetitions` random problems of every family."""
    return [problem_named(name, size, seed) for name in problem_names(repetitions)]


def problem_names(repetitions: int) -> list[str]:
    """Names of the paper's problem and of the first problems of every family.

    Examples
    --------
    >>> problem_names(2)[:4]
    ['Eq. (10)', 'ordinary 1', 'ordinary 2', 'two outcomes 1']
    """
    indices = range(1, whole_number("repetitions", repetitions, most=10**6) + 1)
    return [PAPER, *(f"{family} {index}" for family in FAMILIES for index in indices)]


def problem_named(name: str, size: int, seed: int) -> Problem:
    """One problem, drawn without the others.

    Parameters
    ----------
    name : str
        "Eq. (10)", or a family and an index of at least 1, as in "two outcomes 2".
    size : int
        Grid points of Eq. (10).
    seed : int
        Of the random problems. Eq. (10) does not depend on it.

    Examples
    --------
    >>> problem_named("two outcomes 2", size=256, seed=7).size
    2
    """
    instance("name", name, str, "a name")
    size, seed = whole_number("size", size, least=2), whole_number("seed", seed)
    if name == PAPER:
        return paper(size, seed)
    family, _, index = name.rpartition(" ")
    if family not in FAMILIES or not (index.isascii() and index.isdigit() and len(index) < 10 and int(index)):
        raise ValueError(
            f"`problem` must be {PAPER!r} or a family and an index from 1, as in 'ordinary 1', of the families "
            f"{', '.join([*FAMILIES][:7])} …; got {name!r:.60}"
        )
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), int(index)])
    return FAMILIES[family](rng).problem(f"{family} {int(index)}", seed)


def paper(size: int, run: int) -> Problem:
    """Eq. (10) and (24); DPO as the shared process of Fig. 2; pairs from the reference policy, as in the notebook."""
    setting = paper_problem(size)
    annotators = [Annotator(p, luce()) for p in setting.annotator_distributions]
    return Problem(
        name=PAPER,
        run=run,
        preference=setting.implicit_preference_distribution,
        reference=setting.reference,
        process=dpo(1.0, setting.reference),
        other_process=length_normalized(np.linspace(10.0, 50.0, size), scale=50.0),
        proposal=ProductProposal(setting.reference),
        mixture=AnnotatorMixture(setting.annotator_weights, annotators),
        rewards=np.cos(setting.grid),
        beta=4.0,
        alpha=0.25,
        seed=0,
    )


Graph = Callable[[np.random.Generator, int], FloatArray]


class _Draft:
    """Numbers of a problem while it is drawn: ordinary ones at first, of which a family makes some nasty."""

    def __init__(self, rng: np.random.Generator, n: int) -> None:
        self.rng, self.size = rng, n
        self.log_p = rng.normal(scale=1.5, size=n)
        self.log_reference = rng.normal(size=n)
        self.processes = [(rng.uniform(0.5, 2.0, n), rng.normal(size=n)) for _ in range(2)]
        self.members = [rng.normal(scale=2.0, size=n) for _ in range(2)]
        self.weights = rng.exponential(size=(n, n))
        self.rewards = rng.normal(size=n)
        self.mixed = rng.uniform(0.3, 0.7, 2)
        self.beta, self.alpha = float(rng.uniform(0.5, 4.0)), float(rng.uniform(0.1, 0.9))
        self.seed = int(rng.integers(2**31))
        self.listed = False

    def wide_f(self) -> None:
        """F over four decades."""
        self.processes = [(10.0 ** self.rng.uniform(-2.0, 2.0, self.size), g) for _, g in self.processes]

    def far_apart(self, nats: float) -> None:
        """Utilities, of all annotators and of both processes, over `nats`; rewards in proportion."""
        self.log_p = self.rng.uniform(-nats, 0.0, self.size)
        self.members = [self.rng.uniform(-nats, 0.0, self.size) for _ in range(2)]
        self.processes = [(self.rng.uniform(0.5, 1.0, self.size), g) for _, g in self.processes]
        self.rewards = self.rng.uniform(-nats, nats, self.size)

    def over_decades(self, decades: float) -> None:
        """Pairs drawn, and the reference policy, with weights over so many powers of ten."""
        self.weights = self.weights * 10.0 ** self.rng.uniform(-decades, 0.0, self.weights.shape)
        self.log_reference = self.rng.uniform(-decades, 0.0, self.size) * np.log(10.0)

    def tied(self) -> None:
        """Outcomes of equal probability; now and then all of them."""
        levels = self.rng.choice(self.log_p, int(self.rng.integers(1, 4)))
        self.log_p = self.rng.choice(levels, self.size)
        self.members = [np.round(member) for member in self.members]

    def with_zeros(self) -> None:
        """Outcomes of probability zero, never all, never compared with each other."""
        if self.size > 1:
            zeros = self.rng.choice(self.size, size=int(self.rng.integers(1, self.size)), replace=False)
            self.log_p[zeros] = -np.inf
            self.weights[np.ix_(zeros, zeros)] = 0.0
            if not self.weights.any():
                self.weights[np.argmax(self.log_p), np.argmax(self.log_p)] = 1.0

    def nearly_agreeing(self, difference: float) -> None:
        """Mixed annotators whose utilities differ by so much."""
        self.members[1] = self.members[0] + difference * self.rng.normal(size=self.size)

    def compared(self, graph: Graph) -> None:
        """Only the pairs of a graph, each with its weight times the one that it has."""
        edges = graph(self.rng, self.size)
        self.weights = self.weights * edges
        self.listed = bool((edges > 0.0).sum() < edges.size)

    def problem(self, name: str, run: int) -> Problem:
        """The problem as drawn."""
        first, second = (PBDE(f, g) for f, g in self.processes)
        return Problem(
            name=name,
            run=run,
            preference=FiniteDistribution(self.log_p),
            reference=FiniteDistribution(self.log_reference),
            process=first,
            other_process=second,
            proposal=self._proposal(),
            mixture=AnnotatorMixture(self.mixed, [Annotator(FiniteDistribution(m), luce()) for m in self.members]),
            rewards=self.rewards,
            beta=self.beta,
            alpha=self.alpha,
            seed=self.seed,
        )

    def _proposal(self) -> Proposal:
        if not self.listed:
            return JointProposal(self.weights)
        a, b = np.nonzero(self.weights)
        return PairListProposal(a, b, self.weights[a, b])


Family = Callable[[np.random.Generator], _Draft]


def _between(low: int, high: int) -> Callable[[np.random.Generator], int]:
    return lambda rng: int(rng.integers(low, high + 1))


_few = _between(3, 12)


def _family(change: Callable[[_Draft], None], size: Callable[[np.random.Generator], int] = _few) -> Family:
    def draw(rng: np.random.Generator) -> _Draft:
        draft = _Draft(rng, size(rng))
        change(draft)
        return draft

    return draw


def _log_probabilities(draft: _Draft) -> None:
    draft.log_p = draft.rng.uniform(-1000.0, 0.0, draft.size)
    draft.rewards = draft.rng.uniform(-1000.0, 1000.0, draft.size)


def _star(draft: _Draft) -> None:
    """The hub of a star decides everything; its arms here have weights over 30 decades and reach 100 nats."""
    draft.far_apart(100.0)
    draft.over_decades(30.0)
    draft.compared(star)


GRAPHS = (complete, complete, tree, star, path, bipartite, nearly_disconnected, two_components, diagonal)


def _any_size(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 3, int(rng.integers(4, 13)), int(rng.integers(13, LARGEST + 1))]))


def _anything(draft: _Draft) -> None:
    """Every trait of the other families by chance, and so their combinations."""
    rng = draft.rng
    if rng.random() < 0.5:
        draft.far_apart(float(rng.choice([10.0, 50.0, 340.0, 680.0, 1000.0])))
    if rng.random() < 0.25:
        draft.wide_f()
    if rng.random() < 0.5:
        draft.over_decades(float(rng.choice([3.0, 15.0, 30.0])))
    if rng.random() < 0.25:
        draft.tied()
    if rng.random() < 0.25:
        draft.nearly_agreeing(10.0 ** rng.uniform(-12.0, 0.0))
    draft.compared(GRAPHS[rng.integers(len(GRAPHS))])
    if rng.random() < 0.2:
        draft.with_zeros()


FAMILIES: dict[str, Family] = {
    "ordinary": _family(lambda draft: None),
    "two outcomes": _family(lambda draft: None, lambda rng: 2),
    "one outcome": _family(lambda draft: None, lambda rng: 1),
    "forty outcomes": _family(lambda draft: None, lambda rng: LARGEST),
    "f over four decades": _family(_Draft.wide_f),
    "log p to -1,000": _family(_log_probabilities),
    "utilities to 340": _family(lambda draft: draft.far_apart(680.0)),
    "weights over 30 decades": _family(lambda draft: draft.over_decades(30.0)),
    "ties": _family(_Draft.tied),
    "zero probabilities": _family(_Draft.with_zeros),
    "tree": _family(lambda draft: draft.compared(tree)),
    "star": _family(_star),
    "bipartite": _family(lambda draft: draft.compared(bipartite)),
    "nearly disconnected": _family(lambda draft: draft.compared(nearly_disconnected)),
    "two components": _family(lambda draft: draft.compared(two_components), _between(4, 12)),
    "diagonal only": _family(lambda draft: draft.compared(diagonal)),
    "near agreement": _family(lambda draft: draft.nearly_agreeing(1e-8)),
    "anything": _family(_anything, _any_size),
}
