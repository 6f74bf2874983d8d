r"""IPO, Eq. (22) and (23): the policy each of them prefers, exactly.

In expectation Eq. (23) is weighted least squares in :math:`s = \log(\pi / \pi_{pre})`: one solve with the Laplacian of
the comparison graph. For pairs of independent draws from one distribution it prefers what Eq. (22) prefers, and that
has a closed form. See ``proofs/ipo.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution, kl_divergence, same_support, tilt
from pbde_ref.exact.enclosures import policy_distance, policy_rounding
from pbde_ref.exact.expected import check_models, expected_loss
from pbde_ref.exact.flow_certificate import left_over, reach
from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.exact.laplacian import centred, maximal_spanning_tree, smallest_eigenvalue, solve_flows
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.exact.selection import win_weights, win_weights_error
from pbde_ref.numerics import EPS
from pbde_ref.objectives import LEAST_TAU, ipo
from pbde_ref.pairs import PairBlock
from pbde_ref.proposals import Proposal
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    array,
    instance,
    positive_number,
    probability_weights,
    reject,
    vector,
)

__all__ = [
    "IpoSolution", "bounds_of", "identity_preference_objective", "ipo_closed_form", "ipo_optimum", "ipo_winners",
    "psi_closed_form", "slices_of",
]  # fmt: skip



@dataclass(frozen=True, eq=False, kw_only=True)
class IpoSolution(Optimum):
    r"""The minimiser of the expected IPO loss.

    Attributes
    ----------
    utilities : ndarray, shape (n,)
        :math:`s = \log(\pi / \pi_{pre})` up to a constant, with mean zero in each component of the comparison graph.
        Also called `log_ratio`. Read-only.
    loss : float
        Eq. (23) in expectation; its unit is one over that of :math:`\tau^2`.
    gap : float
        Upper bound on the loss of `utilities`, and of `policy`, above the least possible one, with all that rounding
        may have done.
    certificate : float
        The residual :math:`\rho` of the equations: its largest entry, each divided by its outcome's degree
        :math:`\sum_B (q_{xB} + q_{Bx})`; in nats, as the log-ratio. Also called `residual`.
    smallest_eigenvalue : float
        Of the Laplacian scaled by the degrees, on the complement of its null space; infinite if no two outcomes are
        compared. Positive where the solution is unique up to one constant for each component.
    converged : bool
        Whether `gap` is within 1e-20 of :math:`1 / (4 \tau^2)`, the loss of an undecided annotator, and `policy_error`
        within 1e-8.
    n_components : int
        Components of the comparison graph. All outcomes that the reference has lie in one of them.
    """

    policy: FiniteDistribution
    smallest_eigenvalue: float
    n_components: int

    @property
    def log_ratio(self) -> FloatArray:
        """`utilities`."""
        return self.utilities

    @property
    def residual(self) -> float:
        """`certificate`."""
        return float(self.certificate)


def ipo_optimum(
    annotator: PreferenceModel, proposal: Proposal, *, tau: float, reference: FiniteDistribution
) -> IpoSolution:
    r"""The policy of least expected IPO loss, Eq. (23), for any proposal.

    .. math:: \min_s \sum_{A,B} q_{AB} \Big[p_{AB} \big(d - \tfrac{1}{2\tau}\big)^2
              + p_{BA} \big(d + \tfrac{1}{2\tau}\big)^2\Big], \qquad d = s_A - s_B, \quad \pi \propto \pi_{pre}\, e^s

    Its normal equations are :math:`L s = h` with the Laplacian L of the weights :math:`q_{AB} + q_{BA}` and
    :math:`h_x = \sum_B (q_{xB} + q_{Bx}) (2 p_{xB} - 1) / (2\tau)`.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    tau : float
        Positive; the larger, the closer the policy stays to the reference.
    reference : FiniteDistribution
        :math:`\pi_{pre}`. Where it is zero the policy is, whatever the ratio :math:`e^s`.

    Returns
    -------
    IpoSolution

    Raises
    ------
    ValueError
        If sizes or supports differ, `tau` is not positive, outcomes that the reference has are not connected by
        comparisons (the loss then leaves their masses open; the message names the components), or the annotator is
        asked to compare two outcomes of probability zero.

    Notes
    -----
    Only :math:`q + q^\top` matters. Proof: ``proofs/ipo.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.ipo import ipo_optimum
    >>> annotator = pb.PreferenceMatrix([[0.5, 0.9], [0.1, 0.5]])
    >>> solution = ipo_optimum(annotator, pb.ProductProposal([1, 1]), tau=0.4, reference=pb.uniform([0, 1]))
    >>> np.diff(solution.policy.log_pmf)  # (2 p - 1) / (2 tau), with p the probability of outcome 1
    array([-1.])
    """
    tau = _settings(annotator, tau, reference)
    objective = ipo(tau)
    check_models(annotator, proposal)
    size = annotator.size
    components = comparison_components(proposal, size)
    _check_connected(components, reference)
    wins, _ = win_weights(annotator, proposal)
    weights, flows = wins + wins.T, (wins - wins.T) / (2.0 * tau)
    mass = _masses(weights)
    s = centred(solve_flows(weights, flows), components)
    residual = (flows - weights * (s[:, None] - s)).sum(axis=1)
    # Divided by its degrees a Laplacian has eigenvalues in [0, 2], however rare some outcomes are. What rounding may
    # have added is taken off.
    smallest = smallest_eigenvalue(weights, components, mass) * (1.0 - 16.0 * size * EPS)
    s.flags.writeable = False
    policy = FiniteDistribution(reference.log_pmf + s, reference.support)
    moved = policy_rounding(policy.log_pmf, reference.log_pmf, s)
    gap, utility_error, widths = bounds_of(wins, s, tau, components, win_weights_error(annotator, proposal))
    # Rounding of the policy adds to its distance from the optimum, in the norm whose square the loss is.
    gap = (math.sqrt(gap) + math.sqrt(2.0 * float((weights.sum(axis=1) * moved**2).sum()))) ** 2
    policy_error = policy_distance(policy.pmf, widths + moved)
    reason = unmet(("gap", gap, 1e-20 / (4.0 * tau**2)), ("policy error", policy_error, 1e-8))
    return IpoSolution(
        policy=policy,
        utilities=s,
        loss=expected_loss(objective, annotator, s, proposal).value,
        gap=gap,
        utility_error=utility_error,
        policy_error=policy_error,
        converged=not reason,
        unique=True,
        proof="equations",
        certificate=float(np.abs(residual / mass).max()),
        reason=reason,
        smallest_eigenvalue=smallest,
        n_components=int(components.max()) + 1,
    )


def ipo_closed_form(
    annotator: PreferenceModel, mu: FiniteDistribution | ArrayLike, *, tau: float, reference: FiniteDistribution
) -> FiniteDistribution:
    r"""The maximiser of Eq. (22), and the minimiser of Eq. (23) for pairs from :math:`\mu \otimes \mu`.

    .. math:: \pi(x) \propto \pi_{pre}(x)\, \exp\big(\mathbb{E}_{B \sim \mu}[p^*(x \succ B)] / \tau\big),
              \qquad p^*(x \succ x) = \tfrac12

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    mu : FiniteDistribution or array_like of weights, shape (n,)
        The behaviour distribution :math:`\mu` that opponents are drawn from.
    tau : float
        Positive.
    reference : FiniteDistribution
        :math:`\pi_{pre}`.

    Raises
    ------
    ValueError
        If sizes or supports differ, `tau` is not positive, or an outcome of probability zero that the reference has
        would meet another of probability zero.

    Notes
    -----
    Where :math:`\mu(x) = 0` this formula, and Eq. (22), still fix :math:`\pi(x)`. Eq. (23) does not: no pair contains
    x, so `ipo_optimum` rejects such a proposal unless the reference excludes x too. Proof: ``proofs/ipo.md``; sure
    answers: ``proofs/sure_preferences.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.ipo import ipo_closed_form, ipo_optimum
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 2, 3]), pb.luce())
    >>> reference, mu = pb.FiniteDistribution.from_weights([3, 2, 1]), [0.2, 0.5, 0.3]
    >>> ipo_closed_form(annotator, mu, tau=0.5, reference=reference).pmf.round(6)
    array([0.403232, 0.371438, 0.22533 ])
    >>> ipo_optimum(annotator, pb.ProductProposal(mu), tau=0.5, reference=reference).policy.pmf.round(6)
    array([0.403232, 0.371438, 0.22533 ])
    """
    tau = _settings(annotator, tau, reference)
    opponents = _behaviour(annotator, mu)
    return tilt(reference, _win_rates(annotator, reference.pmf > 0.0, opponents), tau)


def psi_closed_form(
    annotator: PreferenceModel,
    mu: FiniteDistribution | ArrayLike,
    psi: Callable[[FloatArray, FloatArray], ArrayLike],
    *,
    tau: float,
    reference: FiniteDistribution,
) -> FiniteDistribution:
    r"""The optimum of ΨPO (Azar et al., 2023) for any Ψ.

    .. math:: \pi(x) \propto \pi_{pre}(x)\, \exp\big(\mathbb{E}_{B \sim \mu}[\Psi(p^*(x \succ B))] / \tau\big)

    Parameters
    ----------
    annotator, mu, tau, reference
        As in `ipo_closed_form`, which is the case of the identity.
    psi : callable
        Ψ as a function of the probabilities of winning and of losing, two arrays of one shape; both come with all their
        digits, so the logit is ``lambda won, lost: np.log(won / lost)``. Its values must be finite.

    Notes
    -----
    The logit gives Eq. (16) with :math:`\beta = \tau`, whatever μ. Proof: ``proofs/psi_po.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> p, even = pb.FiniteDistribution.from_weights([1, 3]), pb.uniform([0, 1])
    >>> pb.psi_closed_form(pb.Annotator(p, pb.luce()), even, lambda won, lost: np.log(won / lost), tau=1.0,
    ...                    reference=even).pmf
    array([0.25, 0.75])
    """
    tau = _settings(annotator, tau, reference)
    opponents = _behaviour(annotator, mu)
    asked = np.flatnonzero(reference.pmf > 0.0)
    met = np.flatnonzero(opponents > 0.0)
    rewards = np.zeros(len(reference))
    for rows in slices_of(asked.size):
        x = asked[rows]
        won, lost = annotator.probabilities(PairBlock(x[:, None], met[None, :], np.ones((x.size, met.size))))
        try:
            values = array("psi", psi(won, lost))
        except Exception as error:
            raise TypeError(f"`psi` must be a function of two arrays; it raised {error!r:.200}") from error
        if values.shape != won.shape or not np.isfinite(values).all():
            raise ValueError(f"`psi` must be finite, one value for each pair; got {values.ravel()[:3]} among others")
        rewards[x] = values @ opponents[met]
    return tilt(reference, rewards, tau)


def ipo_winners(
    policy: FiniteDistribution, proposal: Proposal, *, tau: float, reference: FiniteDistribution
) -> FloatArray:
    r"""What a policy that IPO ended at says about its annotator: how often each outcome won, shape (n,).

    .. math:: w(x) = \sum_B (q_{xB} + q_{Bx}) \big[\tfrac12 + \tau (s_x - s_B)\big], \qquad
              s = \log \frac{\pi}{\pi_{pre}}

    It inverts `ipo_optimum`: the result is the
    annotator's `winners_distribution`, which determines the utilities of any annotator that has some.

    Parameters
    ----------
    policy : FiniteDistribution
    proposal, tau, reference
        As in `ipo_optimum`; policy and reference must be positive everywhere.

    Notes
    -----
    Proof: ``proofs/identified.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 3]), pb.luce())
    >>> pairs, even = pb.ProductProposal([1, 1]), pb.uniform([0, 1])
    >>> policy = pb.ipo_optimum(annotator, pairs, tau=0.2, reference=even).policy
    >>> pb.ipo_winners(policy, pairs, tau=0.2, reference=even)
    array([0.375, 0.625])
    """
    instance("policy", policy, FiniteDistribution, "a FiniteDistribution")
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    same_support("policy", policy.support, "reference", reference.support)
    instance("proposal", proposal, Proposal, "a proposal")
    same_support("proposal", getattr(proposal, "support", None), "reference", reference.support)
    tau = ipo(tau).parameters["tau"]
    for name, given in (("policy", policy), ("reference", reference)):
        reject(name, "positive everywhere", given.pmf, np.isneginf(given.log_pmf))
    s, q = policy.log_pmf - reference.log_pmf, proposal.matrix(len(policy))
    return np.asarray(((q + q.T) * (0.5 + tau * (s[:, None] - s))).sum(axis=1))


def identity_preference_objective(
    policy: FiniteDistribution,
    annotator: PreferenceModel,
    mu: FiniteDistribution | ArrayLike,
    *,
    tau: float,
    reference: FiniteDistribution,
) -> float:
    r"""What IPO maximises, Eq. (22).

    .. math:: \mathbb{E}_{A \sim \pi,\, B \sim \mu}[p^*(x_A \succ x_B)] - \tau\, D_{KL}(\pi \,\|\, \pi_{pre})

    Parameters
    ----------
    policy : FiniteDistribution
    annotator, mu, tau, reference
        As in `ipo_closed_form`.

    Returns
    -------
    float
        -inf if the policy has an outcome that the reference excludes.

    Notes
    -----
    The print's :math:`p^*(y; x_A, x_B)` is read as the probability that :math:`x_A` is preferred, y = 1, and
    :math:`\mu` as the behaviour distribution of Azar et al. (2023).

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.ipo import identity_preference_objective
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> even = pb.uniform([0, 1])
    >>> identity_preference_objective(even, annotator, even, tau=1.0, reference=even)
    0.5
    """
    tau = _settings(annotator, tau, reference)
    instance("policy", policy, FiniteDistribution, "a FiniteDistribution")
    same_support("policy", policy.support, "annotator", annotator.support)
    rates = _win_rates(annotator, policy.pmf > 0.0, _behaviour(annotator, mu))
    return policy.expectation(rates) - tau * kl_divergence(policy, reference)


def _settings(annotator: PreferenceModel, tau: float, reference: FiniteDistribution) -> float:
    instance("annotator", annotator, PreferenceModel, "an annotator")
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    same_support("reference", reference.support, "annotator", annotator.support)
    return positive_number("tau", tau, least=LEAST_TAU)


def _behaviour(annotator: PreferenceModel, mu: FiniteDistribution | ArrayLike) -> FloatArray:
    if isinstance(mu, FiniteDistribution):
        same_support("mu", mu.support, "annotator", annotator.support)
        return mu.pmf
    return probability_weights("mu", vector("mu", mu, size=annotator.size))


def _win_rates(annotator: PreferenceModel, asked: NDArray[np.bool_], opponents: FloatArray) -> FloatArray:
    """Probability of each outcome to be preferred to an opponent; only rows that are asked for need be defined."""
    size = annotator.size
    columns = np.arange(size)[None, :]
    rates = []
    for rows in slices_of(size):
        block = PairBlock(np.arange(size)[rows, None], columns, asked[rows, None] * opponents)
        rates.append((opponents * annotator.probabilities(block)[0]).sum(axis=1))
    return np.concatenate(rates)


def slices_of(size: int) -> Iterator[slice]:
    """Rows in groups of about 2^16 pairs."""
    height = max(1, (1 << 16) // size)
    return (slice(start, start + height) for start in range(0, size, height))


def _check_connected(components: IndexArray, reference: FiniteDistribution) -> None:
    """Raise unless all outcomes that the reference has belong to one component."""
    held = np.unique(components[reference.pmf > 0.0])
    if held.size > 1:
        shown = ", ".join(_listed(np.flatnonzero(components == component)) for component in held[:4])
        more = "" if held.size <= 4 else f" and {held.size - 4} more"
        raise ValueError(
            "`proposal` must connect all outcomes of positive reference probability (their masses are undetermined "
            f"otherwise); got {held.size} components with the indices {shown}{more}"
        )


def _listed(members: IndexArray) -> str:
    shown = ", ".join(str(int(i)) for i in members[:6])
    return f"{{{shown}{', …' if members.size > 6 else ''}}}"


def bounds_of(
    wins: FloatArray, s: FloatArray, tau: float, components: IndexArray, relative: float
) -> tuple[float, float, FloatArray]:
    r"""Bounds on the loss at s above the least one, on the error of differences, and on that of each entry.

    The last but for one constant in each component. The error is the potential of the flows that s leaves along the
    edges. It is solved for once more; what that leaves is next to nothing, and a spanning tree carries it. Rounding of
    an edge's flow by e moves no difference by more than :math:`|e|` times the edge's effective resistance, and these,
    times weights, add up to the number of the tree's edges.

    Parameters
    ----------
    wins : ndarray, shape (n, n)
        How often A meets B and wins, right to `relative`; zero on the diagonal.
    s : ndarray, shape (n,)
        Log-ratios of policy and reference.

    Examples
    --------
    >>> import numpy as np
    >>> wins = np.array([[0.0, 0.9], [0.1, 0.0]])  # at τ = 0.4 the first log-ratio is larger by 1
    >>> gap, error, _ = bounds_of(wins, np.array([1.5, 0.0]), 0.4, np.array([0, 0]), 0.0)
    >>> round(gap, 8), round(error, 8)
    (0.25, 0.5)
    """
    weights, margin = wins + wins.T, s[:, None] - s
    flows = (wins - wins.T) / (2.0 * tau) - weights * margin
    v = centred(solve_flows(weights, flows), components, _masses(weights))
    change = v[:, None] - v
    with np.errstate(divide="ignore"):
        tree = maximal_spanning_tree(np.log(weights))
    below, child, above = tree.edges()
    if below.size < s.size - int(components.max()) - 1:
        # Weights have underflowed.
        return math.inf, math.inf, np.full(s.size, math.inf)
    left = left_over(tree, flows - weights * change)[below]
    along = left / weights[child, above]
    size = np.where(weights > 0.0, np.abs(margin) + 1.0 / (2.0 * tau) + np.abs(change), 0.0)
    rounding = (relative + 4.0 * EPS) * size
    energies = 0.5 * (weights * change**2).sum(), (left * along).sum(), 0.5 * (weights * rounding**2).sum()
    gap = sum(math.sqrt(energy) for energy in energies) ** 2
    slack = float(along.sum()) + below.size * float(rounding.max())
    return (1.0 + 1e-9) * gap, (1.0 + 1e-9) * (reach(v, components) + slack), (1.0 + 1e-9) * (np.abs(v) + slack)


def _masses(weights: FloatArray) -> FloatArray:
    """Degrees, and 1 for what is never compared."""
    degree = weights.sum(axis=1)
    return np.where(degree > 0.0, degree, 1.0)
