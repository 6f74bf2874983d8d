r"""What each loss of the paper learns: the noise-free versions of Fig. 1–3, 5 and 7–11.

Every loss is taken to its exact optimum on the problem of Eq. (10), with both outcomes of a pair drawn independently
from the reference policy. The whole table takes about a minute on two cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.distributions import FiniteDistribution, geometric_mean, kl_divergence, tilt, total_variation
from pbde_ref.exact.enclosures import policy_distance
from pbde_ref.exact.expected import expected_cross_entropy, expected_kl
from pbde_ref.exact.hinge import minimize_rso, minimize_slic
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.exact.lengths.sentence_classes import projected_policy
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.mixtures import expected_mixture_loss, fit_annotator_mixture
from pbde_ref.exact.optima import optimal_policy, product_of_experts
from pbde_ref.exact.ranking import minimize_rrhf
from pbde_ref.experiments.annotators import luce_annotator, pooled_annotators
from pbde_ref.paper_problem import PaperProblem, paper_problem
from pbde_ref.pbde import PBDE, dpo, geometric_average, luce
from pbde_ref.proposals import ProductProposal

__all__ = ["LOSSES", "Optimum", "Rule", "optima", "optimum"]

_Found = tuple[FiniteDistribution, float, float, str, float]
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Optimum:
    r"""What one loss prefers on the paper's problem.

    Attributes
    ----------
    loss : str
    parameters : mapping of str to float
    figure : str
        The figure of the paper whose curve this is without noise; empty if there is none.
    policy : FiniteDistribution
    value : float
        The expected loss at the policy.
    gap : float
        Bound on how far that is above the least possible value; what proves it is said by `certificate`.
    certificate : str
        "divergence" (the expected KL, which is never negative), "curvature" (gradient and effective resistances),
        "dual" (a feasible dual point) or "equations" (residual of the linear equations of the optimum).
    policy_error : float
        Bound on the total variation between `policy` and the optimum; 1 where nothing is proved, as where several
        policies are as good.
    problem : PaperProblem
    """

    loss: str
    parameters: Mapping[str, float]
    figure: str
    policy: FiniteDistribution
    value: float
    gap: float
    certificate: str
    policy_error: float
    problem: PaperProblem

    @property
    def label(self) -> str:
        """The loss and its parameters, as in ``dpo β=4``."""
        letters = {"beta": "β", "alpha": "α", "tau": "τ", "delta": "δ", "lambda_": "λ", "candidates": "k"}
        return " ".join([self.loss, *(f"{letters.get(k, k)}={v:g}" for k, v in self.parameters.items())])

    @property
    def distances(self) -> dict[str, float]:
        r"""Total variation and :math:`D_{KL}(\pi \,\|\, \cdot)` to :math:`p^*` and to :math:`\pi_{pre}`."""
        others = {
            "preference": self.problem.implicit_preference_distribution,
            "reference": self.problem.reference,
        }
        return {
            f"{name}_{other}": distance(self.policy, distribution)
            for other, distribution in others.items()
            for name, distance in (("total_variation", total_variation), ("kl", kl_divergence))
        }

    @property
    def mode_masses(self) -> tuple[float, float]:
        """Probability within three standard deviations of the two modes, [-3.25, -1.75] and [-0.5, 5.5]."""
        grid = self.problem.grid
        near = (np.abs(grid + 2.5) <= 0.75), (np.abs(grid - 2.5) <= 3.0)
        return float(self.policy.pmf[near[0]].sum()), float(self.policy.pmf[near[1]].sum())


@dataclass(frozen=True)
class Rule:
    """How a loss is taken to its optimum.

    Attributes
    ----------
    title : str
        For figures.
    solve : callable
        Problem and parameters to policy, loss there, gap, certificate and error of the policy.
    sweep : mapping of str to tuple of float
        The paper's values of each parameter.
    figure : str
    statement : str
        In one line.
    """

    title: str
    solve: Callable[..., _Found]
    sweep: Mapping[str, tuple[float, ...]]
    figure: str
    statement: str


def optimum(loss: str, *, size: int = 256, **parameters: float) -> Optimum:
    """The policy that a loss prefers on the paper's problem.

    Parameters
    ----------
    loss : str
        A key of `LOSSES`.
    size : int
        Grid points.
    **parameters : float
        Exactly those of the loss's sweep.

    Raises
    ------
    ValueError
        If the loss is unknown or a parameter is out of range.
    TypeError
        If a parameter is missing or superfluous.

    Examples
    --------
    What does SLiC with δ = 1 converge to, and how far is it from p*?

    >>> from pbde_ref.experiments.atlas import optimum
    >>> slic = optimum("slic", size=64, delta=1.0, lambda_=0.0)
    >>> round(slic.distances["total_variation_preference"], 3)
    0.111
    """
    if loss not in LOSSES:
        raise ValueError(f"`loss` must be one of {', '.join(map(repr, LOSSES))}; got {loss!r:.100}")
    rule = LOSSES[loss]
    if set(parameters) != set(rule.sweep):
        raise TypeError(
            f"{loss!r} must have {', '.join(f'`{name}`' for name in rule.sweep) or 'no parameters'}; "
            f"got {', '.join(f'`{name}`' for name in parameters) or 'none'}"
        )
    problem = paper_problem(size)
    policy, value, gap, certificate, error = rule.solve(problem, **parameters)
    return Optimum(loss, dict(parameters), rule.figure, policy, value, gap, certificate, error, problem)


def optima(losses: list[str] | None = None, *, size: int = 256) -> Iterator[Optimum]:
    """The optima of several losses over the paper's sweeps, one by one as they are found.

    Parameters
    ----------
    losses : list of str, optional
        Keys of `LOSSES`. Default: all.
    size : int
        Grid points.
    """
    for loss in LOSSES if losses is None else losses:
        for values in product(*LOSSES[loss].sweep.values()):
            yield optimum(loss, size=size, **dict(zip(LOSSES[loss].sweep, values, strict=True)))


def _pairs(problem: PaperProblem) -> ProductProposal:
    return ProductProposal(problem.reference)


def _logistic(
    problem: PaperProblem, annotator: PreferenceModel, policy: FiniteDistribution, model: PBDE, error: float = 0.0
) -> _Found:
    """A closed form, certified by the divergence that it leaves; what the policy is off by is `error`, in utilities."""
    utilities = model.utility(policy.log_pmf)
    value = expected_cross_entropy(annotator, utilities, _pairs(problem)).value
    # Each utility is a product and a sum of rounded numbers; the root of a divergence moves by no more than that.
    rounding = 8.0 * EPS * (1.0 + np.abs(utilities) + np.abs(model.g) + np.abs(model.f * policy.log_pmf))
    divergence = expected_kl(annotator, utilities, _pairs(problem)).value
    root = float(np.sqrt(divergence)) + float(np.sqrt(_pairs(problem).a @ rounding**2))
    policy_error = policy_distance(policy.pmf, error + rounding, model.f)
    return policy, value, root**2, "divergence", policy_error


def _reward(problem: PaperProblem) -> _Found:
    solution = minimize_expected_loss("bradley_terry", luce_annotator(problem), _pairs(problem))
    policy = FiniteDistribution(solution.value, problem.grid)
    return _logistic(problem, luce_annotator(problem), policy, luce(), 0.5 * solution.certificate.utility_error)


def _dpo_shared(problem: PaperProblem, beta: float) -> _Found:
    model = dpo(beta, problem.reference)
    annotator = Annotator(problem.implicit_preference_distribution, model)
    return _logistic(problem, annotator, optimal_policy(annotator, model), model)


def _dpo(problem: PaperProblem, beta: float) -> _Found:
    policy = product_of_experts(problem.reference, problem.implicit_preference_distribution, beta)
    return _logistic(problem, luce_annotator(problem), policy, dpo(beta, problem.reference))


def _geometric(problem: PaperProblem, alpha: float) -> _Found:
    policy = geometric_mean(problem.implicit_preference_distribution, problem.reference, alpha)
    return _logistic(problem, luce_annotator(problem), policy, geometric_average(alpha, problem.reference))


def _rlhf(problem: PaperProblem, beta: float) -> _Found:
    """Two stages: a reward by Theorem 1, then Eq. (13); judged by DPO's own loss."""
    solution = minimize_expected_loss("bradley_terry", luce_annotator(problem), _pairs(problem))
    policy, error = tilt(problem.reference, solution.value, beta), 0.5 * solution.certificate.utility_error
    return _logistic(problem, luce_annotator(problem), policy, dpo(beta, problem.reference), error)


def _misspecified(problem: PaperProblem, model: PBDE) -> _Found:
    found = projected_policy(pooled_annotators(problem), model, _pairs(problem))
    solution = found.solution
    return found.policy, solution.loss, solution.certificate.gap, "curvature", found.policy_error


def _pooled_reward(problem: PaperProblem) -> _Found:
    return _misspecified(problem, luce())


def _pooled_dpo(problem: PaperProblem, beta: float) -> _Found:
    return _misspecified(problem, dpo(beta, problem.reference))


def _pooled_mean(problem: PaperProblem, alpha: float) -> _Found:
    return _misspecified(problem, geometric_average(alpha, problem.reference))


def _two_annotators(problem: PaperProblem) -> _Found:
    annotators, pairs = pooled_annotators(problem), _pairs(problem)
    solution = fit_annotator_mixture(annotators, pairs, reference=problem.reference, noise=1e-4, rng=0)
    loss = expected_mixture_loss(annotators, solution.weights, solution.utilities, pairs)
    return solution.marginal, loss.cross_entropy, solution.gap, "divergence", 1.0


def _slic(problem: PaperProblem, delta: float, lambda_: float) -> _Found:
    solution = minimize_slic(
        luce_annotator(problem), _pairs(problem), delta=delta, lambda_=lambda_, reference=problem.reference
    )
    return solution.policy, solution.loss, solution.gap, "dual", solution.policy_error


def _rso(problem: PaperProblem, delta: float) -> _Found:
    solution = minimize_rso(luce_annotator(problem), _pairs(problem), delta=delta, reference=problem.reference)
    return solution.policy, solution.loss, solution.gap, "dual", solution.policy_error


def _rrhf(problem: PaperProblem, candidates: float) -> _Found:
    solution = minimize_rrhf(luce_annotator(problem), _pairs(problem), n_candidates=int(candidates))
    return solution.policy, solution.loss, solution.gap, "dual", solution.policy_error


def _ipo(problem: PaperProblem, tau: float) -> _Found:
    solution = ipo_optimum(luce_annotator(problem), _pairs(problem), tau=tau, reference=problem.reference)
    return solution.policy, solution.loss, solution.gap, "equations", solution.policy_error


LOSSES: Mapping[str, Rule] = {
    "reward": Rule("reward", _reward, {}, "1, 7", "Bradley–Terry reward, Theorem 1"),
    "dpo_shared": Rule(
        "DPO, shared process", _dpo_shared, {"beta": (1.0,)}, "2", "DPO, the annotator with the same process, Theorem 2"
    ),
    "dpo": Rule("DPO", _dpo, {"beta": (1.0, 4.0, 16.0)}, "3", "DPO, Luce annotator, Eq. (16)"),
    "geometric": Rule(
        "geometric", _geometric, {"alpha": (1.0, 0.25, 0.0625)}, "8", "geometric process, Luce annotator, Eq. (18)"
    ),
    "rlhf": Rule(
        "RLHF", _rlhf, {"beta": (1.0, 4.0, 16.0)}, "", "reward, then KL-controlled reinforcement learning, Eq. (13)"
    ),
    "slic": Rule(
        "SLiC", _slic, {"delta": (0.0, 0.25, 0.5, 1.0, 2.0), "lambda_": (0.0, 1.0)}, "9", "SLiC-HF, Eq. (20)"
    ),
    "rso": Rule("RSO", _rso, {"delta": (0.25, 0.5, 1.0, 2.0)}, "", "RSO, Eq. (21)"),
    "ipo": Rule("IPO", _ipo, {"tau": (0.1, 0.5, 1.0)}, "10", "IPO, Eq. (23)"),
    "rrhf": Rule("RRHF", _rrhf, {"candidates": (2.0, 3.0)}, "", "RRHF with likelihood term, equal lengths, Eq. (19)"),
    "pooled_reward": Rule("pooled reward", _pooled_reward, {}, "5", "one reward for two annotators, Eq. (25)"),
    "pooled_dpo": Rule("pooled DPO", _pooled_dpo, {"beta": (4.0,)}, "", "DPO for two annotators, Eq. (25)"),
    "pooled_mean": Rule(
        "pooled geometric", _pooled_mean, {"alpha": (0.25,)}, "", "geometric process for two annotators, Eq. (25)"
    ),
    "two_annotators": Rule(
        "two annotators", _two_annotators, {}, "11", "a model of two annotators for two annotators, Eq. (30)"
    ),
}
