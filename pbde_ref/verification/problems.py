"""The problems that claims are checked on: the paper's own, and a seeded family that includes the nasty ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.paper_problem import paper_problem
from pbde_ref.pbde import PBDE, dpo, length_normalized, luce
from pbde_ref.proposals import JointProposal, PairListProposal, ProductProposal, Proposal
from pbde_ref.validation import FloatArray

__all__ = ["FAMILIES", "Problem", "problems"]


@dataclass(frozen=True, eq=False)
class Problem:
    r"""One setting of everything that the paper's claims speak of.

    Attributes
    ----------
    name : str
    preference, reference : FiniteDistribution
        :math:`p^*` and :math:`\pi_{pre}`.
    process, other_process : PBDE
        Two preference processes, the second with varying f.
    proposal : Proposal
        Connected unless `connected` is False; compares no two outcomes of probability zero.
    connected : bool
    moderate : bool
        Whether preferences are far from certain, so that a broken claim must show.
    mixture : AnnotatorMixture
        Two Luce annotators.
    rewards : ndarray, shape (n,)
    beta, alpha : float
    seed : int
        For what a check draws itself.
    """

    name: str
    preference: FiniteDistribution
    reference: FiniteDistribution
    process: PBDE
    other_process: PBDE
    proposal: Proposal
    connected: bool
    moderate: bool
    mixture: AnnotatorMixture
    rewards: FloatArray
    beta: float
    alpha: float
    seed: int

    @property
    def size(self) -> int:
        """Number of outcomes."""
        return len(self.preference)

    @property
    def luce(self) -> Annotator:
        """The annotator of Eq. (9)."""
        return Annotator(self.preference, luce())

    @property
    def annotator(self) -> Annotator:
        """The annotator of Eq. (11) with `process`."""
        return Annotator(self.preference, self.process)

    @property
    def positive(self) -> bool:
        """Whether every outcome has positive probability."""
        return bool(np.isfinite(self.preference.log_pmf).all())


def problems(size: int, seed: int, repetitions: int = 3) -> list[Problem]:
    """The paper's problem on a grid of `size` points, then `repetitions` random problems of every family."""
    streams = np.random.default_rng(seed).spawn(len(FAMILIES) * repetitions)
    families = [family for family in FAMILIES for _ in range(repetitions)]
    return [_paper(size, seed), *(draw(rng) for draw, rng in zip(families, streams, strict=True))]


def _paper(size: int, seed: int) -> Problem:
    """Eq. (10) and (24); DPO as the shared process of Fig. 2; pairs from the reference policy, as in the notebook."""
    paper = paper_problem(size)
    annotators = [Annotator(p, luce()) for p in paper.annotator_distributions]
    return Problem(
        name="Eq. (10)",
        preference=paper.implicit_preference_distribution,
        reference=paper.reference,
        process=dpo(1.0, paper.reference),
        other_process=length_normalized(np.linspace(10.0, 50.0, size), scale=50.0),
        proposal=ProductProposal(paper.reference),
        connected=True,
        moderate=True,
        mixture=AnnotatorMixture(paper.annotator_weights, annotators),
        rewards=np.cos(paper.grid),
        beta=4.0,
        alpha=0.25,
        seed=seed,
    )


def _ordinary(rng: np.random.Generator, size: int | None = None) -> Problem:
    size = int(rng.integers(3, 13)) if size is None else size
    reference = FiniteDistribution(rng.normal(size=size))
    annotators = [Annotator(FiniteDistribution(rng.normal(scale=2.0, size=size)), luce()) for _ in range(2)]
    return Problem(
        name="ordinary",
        preference=FiniteDistribution(rng.normal(scale=1.5, size=size)),
        reference=reference,
        process=PBDE(rng.uniform(0.5, 2.0, size), rng.normal(size=size)),
        other_process=PBDE(rng.uniform(0.5, 2.0, size), rng.normal(size=size)),
        proposal=JointProposal(rng.exponential(size=(size, size))),
        connected=True,
        moderate=True,
        mixture=AnnotatorMixture(rng.uniform(0.3, 0.7, 2), annotators),
        rewards=rng.normal(size=size),
        beta=float(rng.uniform(0.5, 4.0)),
        alpha=float(rng.uniform(0.1, 0.9)),
        seed=int(rng.integers(2**31)),
    )


def _two_outcomes(rng: np.random.Generator) -> Problem:
    return replace(_ordinary(rng, 2), name="two outcomes")


def _wide_f(rng: np.random.Generator) -> Problem:
    problem = _ordinary(rng)

    def process() -> PBDE:
        return PBDE(10.0 ** rng.uniform(-2.0, 2.0, problem.size), rng.normal(size=problem.size))

    return replace(problem, name="f over four decades", moderate=False, process=process(), other_process=process())


def _tiny_probabilities(rng: np.random.Generator) -> Problem:
    problem = _ordinary(rng)
    log_weights = rng.uniform(-1000.0, 0.0, problem.size)
    preference = FiniteDistribution(log_weights)
    return replace(problem, name="log-probabilities to -1,000", moderate=False, preference=preference)


def _zero_probability(rng: np.random.Generator) -> Problem:
    problem = _ordinary(rng)
    zeros = rng.choice(problem.size, size=int(rng.integers(1, problem.size)), replace=False)
    log_weights = np.array(problem.preference.log_pmf)
    log_weights[zeros] = -np.inf
    weights = problem.proposal.matrix(problem.size).copy()
    weights[np.ix_(zeros, zeros)] = 0.0
    return replace(
        problem,
        name="outcomes of probability zero",
        moderate=False,
        preference=FiniteDistribution(log_weights),
        proposal=JointProposal(weights),
    )


def _tree(rng: np.random.Generator, members: np.ndarray) -> tuple[list[int], list[int]]:
    """Edges of a random tree, each in a random direction."""
    order = rng.permutation(members)
    edges = [(order[i], order[rng.integers(i)])[:: rng.choice([-1, 1])] for i in range(1, len(order))]
    return [int(a) for a, _ in edges], [int(b) for _, b in edges]


def _sparse(rng: np.random.Generator) -> Problem:
    problem = _ordinary(rng)
    x_a, x_b = _tree(rng, np.arange(problem.size))
    return replace(problem, name="comparisons form a tree", proposal=PairListProposal(x_a, x_b))


def _disconnected(rng: np.random.Generator) -> Problem:
    problem = _ordinary(rng, int(rng.integers(4, 13)))
    cut = int(rng.integers(2, problem.size - 1))
    left, right = _tree(rng, np.arange(cut)), _tree(rng, np.arange(cut, problem.size))
    proposal = PairListProposal(left[0] + right[0], left[1] + right[1])
    return replace(problem, name="two components", proposal=proposal, connected=False, moderate=False)


FAMILIES = (_ordinary, _two_outcomes, _wide_f, _tiny_probabilities, _zero_probability, _sparse, _disconnected)
