r"""The game between two policies that an annotator with any preferences defines, and its equilibria.

With :math:`A = P - \frac12`, antisymmetric, two policies play :math:`\pi^\top A \pi'`. A *maximal lottery* loses to
nobody on average; the *Nash policy* does so among policies that pay :math:`\tau D_{KL}(\cdot \,\|\, \pi_{ref})`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from pbde_ref.annotators import PreferenceModel, prompts_of
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, same_support
from pbde_ref.exact.results import unmet
from pbde_ref.numerics import EPS, log_normalize, logsumexp, weighted
from pbde_ref.validation import FloatArray, instance, positive_number, whole_number

__all__ = ["Equilibrium", "kl_control", "margins", "maximal_lottery", "nash_gap", "nash_policy"]


@dataclass(frozen=True, eq=False)
class Equilibrium(Shown):
    r"""A policy that no other beats, and what proves it.

    Attributes
    ----------
    policy : FiniteDistribution
    gap : float
        Upper bound on the duality gap, rounding included: what the best answer to `policy` wins against it, counted for
        both players, :math:`2 \max_{\pi'} [P(\pi' \succ \pi) - \frac12]`, with KL control less what both pay.
    policy_error : float
        Upper bound on the total variation from `policy` to the equilibrium, where it is unique with KL control; 1 where
        nothing is proved.
    converged : bool
        Whether the gap is within the tolerance.
    unique : bool or None
        Whether there is no other equilibrium; None where neither is proved.
    steps : int
    reason : str
        Why it is not converged; mostly empty.
    """

    policy: FiniteDistribution
    gap: float
    policy_error: float
    converged: bool
    unique: bool | None
    steps: int
    reason: str = ""


def margins(preferences: PreferenceModel) -> FloatArray:
    r""":math:`A = P - \frac12`, shape (n, n), antisymmetric to the last bit; each entry is rounded once, by at most
    2^-55.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.games.equilibria import margins
    >>> margins(pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]))
    array([[ 0.  ,  0.25],
           [-0.25,  0.  ]])
    """
    instance("preferences", preferences, PreferenceModel, "an annotator")
    if prompts_of(preferences) is not None:
        raise ValueError("`preferences` must be those between answers to one prompt; got several")
    p = preferences.preference_probabilities()
    lost = np.minimum(p, p.T) - 0.5
    return np.asarray(np.where(p <= p.T, lost, -lost) + 0.0)


def kl_control(tau: float) -> float:
    r""":math:`\tau`, from 1e-6 to 1e6.

    Examples
    --------
    >>> kl_control(1e9)
    Traceback (most recent call last):
        ...
    ValueError: `tau` must be at most 1e6; got 1000000000.0
    """
    tau = positive_number("tau", tau, least=1e-6)
    if tau > 1e6:
        raise ValueError(f"`tau` must be at most 1e6; got {tau}")
    return tau


def maximal_lottery(preferences: PreferenceModel, *, tolerance: float = 1e-12) -> Equilibrium:
    r"""The policy that wins at least half against every other: the von Neumann or minimax winner.

    .. math:: \pi \in \arg\max_\pi \min_{\pi'} P(\pi \succ \pi'), \qquad A \pi \le 0

    A linear programme, whose solution is solved for again on its support, :math:`A_{SS} \pi_S = 0`.

    Parameters
    ----------
    preferences : Annotator, AnnotatorMixture or PreferenceMatrix
    tolerance : float
        Gap at which the result counts as converged.

    Notes
    -----
    `unique` is True where every outcome outside the support loses by more than rounding and :math:`A_{SS}` has one null
    direction. Proof: ``proofs/maximal_lottery.md``. Concept: Kreweras (1965), Fishburn (1984).

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.games import maximal_lottery
    >>> cycle = pb.PreferenceMatrix([[0.5, 0.75, 0.0], [0.25, 0.5, 1.0], [1.0, 0.0, 0.5]])
    >>> found = maximal_lottery(cycle)
    >>> found.policy.pmf, found.unique  # 2 : 2 : 1, the margins of the two others
    (array([0.4, 0.4, 0.2]), True)
    >>> luce = pb.Annotator(pb.FiniteDistribution.from_weights([3, 2, 1]), pb.luce())
    >>> maximal_lottery(luce).policy.pmf  # the mode, and not p*
    array([1., 0., 0.])
    """
    payoff = margins(preferences)
    tolerance = positive_number("tolerance", tolerance)
    policy, steps = _programme(payoff)
    tried = [policy]
    for least in (1e-6, 1e-9, 1e-12):
        tried.append(_on_support(payoff, policy, np.flatnonzero(policy > least)))
    policy = min(tried, key=lambda p: _lottery_gap(payoff, p))
    found = FiniteDistribution.from_weights(policy, preferences.support)
    gap = _lottery_gap(payoff, found.pmf)
    reason = unmet(("gap", gap, tolerance))
    return Equilibrium(found, gap, 1.0, not reason, _is_alone(payoff, found.pmf), steps, reason)


def _lottery_gap(payoff: FloatArray, policy: FloatArray) -> float:
    r""":math:`2 \max (A \pi)`, with the rounding of entries, products, sums and of the policy's total."""
    held = np.flatnonzero(policy > 0.0)
    rounding = (held.size + 6) * EPS * (np.abs(payoff[:, held]) @ policy[held] + 0.25)
    return 2.0 * max(float((payoff[:, held] @ policy[held] + rounding).max()), 0.0)


def _programme(payoff: FloatArray) -> tuple[FloatArray, int]:
    r"""Minimise t with :math:`A \pi \le t`."""
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import linprog

    n = len(payoff)
    least = payoff.min(axis=1)
    if least.max() >= 0.0:
        # Nobody wins against this one: there is nothing to solve.
        return np.eye(1, n, int(np.argmax(least)))[0], 0
    found = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.column_stack([payoff, -np.ones(n)]), b_ub=np.zeros(n),
        A_eq=np.append(np.ones(n), 0.0)[None], b_eq=[1.0],
        bounds=[(0.0, None)] * n + [(0.0, 1.0)], method="highs-ipm",
    )  # fmt: skip
    policy = np.full(n, 1.0 / n) if found.x is None else np.maximum(found.x[:n], 0.0)
    return policy / policy.sum(), int(found.nit)


def _on_support(payoff: FloatArray, policy: FloatArray, held: np.ndarray) -> FloatArray:
    r"""The nearest solution of :math:`A_{SS} \pi = 0, \sum \pi = 1` to what the programme found."""
    if held.size == 0:
        return policy
    matrix = np.vstack([payoff[np.ix_(held, held)], np.ones(held.size)])
    right = np.append(np.zeros(held.size), 1.0)
    solved = policy[held]
    for _ in range(3):
        solved = solved + np.linalg.lstsq(matrix, right - matrix @ solved, rcond=1e-12)[0]
    result = np.zeros(policy.size)
    result[held] = np.maximum(solved, 0.0)
    return result / result.sum()


def _is_alone(payoff: FloatArray, policy: FloatArray) -> bool | None:
    """Whether strict complementarity and a single null direction leave no other lottery; None if neither is clear."""
    held = policy > 0.0
    margin = 1e4 * EPS * len(policy)
    if (payoff[~held][:, held] @ policy[held] > -margin).any() or policy[held].min() < margin:
        return None
    values = np.linalg.svd(payoff[np.ix_(held, held)], compute_uv=False)
    return True if values.size == 1 or values[-2] > margin else None


def nash_gap(payoff: FloatArray, log_policy: FloatArray, log_reference: FloatArray, tau: float) -> float:
    r"""Upper bound on the duality gap of a policy with KL control, rounding included.

    .. math:: 2 \tau\, D_{KL}(\pi \,\|\, \pi'), \qquad \pi' \propto \pi_{ref}\, e^{A \pi / \tau}

    With :math:`d = \log \pi - \log \pi'` up to a constant, the divergence is at most :math:`\sum \pi d^2` over outcomes
    with :math:`d \ge -1`, and what :math:`\pi'` gives to the others: so small ones lose no digits.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.games.equilibria import nash_gap
    >>> nash_gap(np.zeros((2, 2)), np.log([0.5, 0.5]), np.log([0.5, 0.5]), tau=1.0) < 1e-27
    True
    """
    policy = np.exp(log_policy)
    held = policy > 0.0
    answer = log_reference + payoff @ policy / tau
    log_held = np.where(held, log_policy, 0.0)
    apart = np.where(held, log_held - answer, -np.inf)
    centre = float(weighted(policy, apart).sum() / policy.sum())
    rounding = (policy.size + 8.0) * EPS * (np.abs(payoff) @ policy + 0.25) / tau
    rounding = rounding + 8.0 * EPS * (np.abs(log_held) + np.abs(answer) + 1.0)
    near = apart - centre - rounding >= -1.0
    # The centre is rounded as well, no more than the outcomes that it is the mean of.
    squares = weighted(np.where(near, policy, 0.0), (np.abs(apart - centre) + 2.0 * rounding) ** 2).sum()
    others = np.exp(np.minimum(answer + centre + rounding, 700.0)[~near]).sum()
    with np.errstate(over="ignore"):
        plain = centre + float(logsumexp(answer)) + 2.0 * float(rounding.max())
    return float(2.0 * tau * min(squares + others, plain))


def nash_policy(
    preferences: PreferenceModel,
    tau: float,
    reference: FiniteDistribution,
    *,
    tolerance: float = 1e-12,
    max_steps: int = 200,
) -> Equilibrium:
    r"""The equilibrium with KL control towards a reference, which is unique.

    .. math:: \pi^* = \arg\max_\pi \min_{\pi'}\ P(\pi \succ \pi') - \tau D_{KL}(\pi \,\|\, \pi_{ref})
              + \tau D_{KL}(\pi' \,\|\, \pi_{ref}), \qquad \pi^* \propto \pi_{ref}\, e^{A \pi^* / \tau}

    Parameters
    ----------
    preferences : Annotator, AnnotatorMixture or PreferenceMatrix
    tau : float
        From 1e-6 to 1e6.
    reference : FiniteDistribution
        Outcomes of probability zero keep it.
    tolerance : float
        Gap at which the result counts as converged.
    max_steps : int
        Bound on Newton steps.

    Notes
    -----
    For :math:`\tau \to \infty` it tends to the reference, for :math:`\tau \to 0` to the maximal lottery nearest to it,
    :math:`\arg\min D_{KL}(\cdot \,\|\, \pi_{ref})`. The divergence of `policy` from the equilibrium is at most the gap
    divided by :math:`2 \tau`; Pinsker's inequality makes `policy_error` of it. Proof: ``proofs/nash_policy.md``.
    Concept: Munos et al. 2023, arXiv:2312.00886.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.games import nash_policy
    >>> cycle = pb.PreferenceMatrix([[0.5, 0.75, 0.0], [0.25, 0.5, 1.0], [1.0, 0.0, 0.5]])
    >>> found = nash_policy(cycle, 0.01, pb.uniform(range(3)))
    >>> found.policy.pmf.round(2), found.gap < 1e-12, found.unique
    (array([0.39, 0.41, 0.2 ]), True, True)
    """
    payoff = margins(preferences)
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    same_support("reference", reference.support, "preferences", preferences.support)
    tau, tolerance = kl_control(tau), positive_number("tolerance", tolerance)
    max_steps = whole_number("max_steps", max_steps, least=1)
    possible = np.flatnonzero(reference.log_pmf > -np.inf)
    inside, log_reference = payoff[np.ix_(possible, possible)], reference.log_pmf[possible]
    wins, steps = np.zeros(possible.size), 0
    # Twice the largest margin is where a contraction leads to the equilibrium; from there downwards, two at a time.
    temperature = max(tau, 1.0)
    while True:
        wins, taken = _newton(inside, log_reference, temperature, wins, max_steps - steps, rough=temperature > tau)
        steps += taken
        if temperature == tau or steps >= max_steps:
            break
        temperature = max(tau, 0.25 * temperature)
    log_policy = np.full(len(payoff), -np.inf)
    log_policy[possible] = log_normalize(log_reference + wins / tau)
    found = FiniteDistribution(log_policy, reference.support)
    gap = nash_gap(inside, found.log_pmf[possible], log_reference, tau)
    reason = unmet(("gap", gap, tolerance))
    error = min(float(np.sqrt(gap / (4.0 * tau))), 1.0)
    return Equilibrium(found, gap, error, not reason, True, steps, reason)


def _newton(
    payoff: FloatArray, log_reference: FloatArray, tau: float, wins: FloatArray, max_steps: int, *, rough: bool
) -> tuple[FloatArray, int]:
    r"""Solve :math:`u = A\, \mathrm{softmax}(\log \pi_{ref} + u / \tau)` for u.

    The derivative, :math:`1 - A (\mathrm{diag}\, \pi - \pi \pi^\top) / \tau`, has eigenvalues 1 + ib and is never
    singular, so Newton's step always lowers the residual's norm.
    """
    enough = 1e-3 * tau if rough else 0.0

    def residual(u: FloatArray) -> tuple[FloatArray, FloatArray]:
        policy = np.exp(log_normalize(log_reference + u / tau))
        return u - payoff @ policy, policy

    off, policy = residual(wins)
    for step in range(max_steps):
        size = float(np.linalg.norm(off))
        if float(np.abs(off).max()) <= max(enough, 4.0 * EPS):
            return wins, step
        # Outcomes without mass move nobody else.
        held = np.flatnonzero(policy > 1e-20)
        mass, answered = policy[held], payoff[:, held]
        slope = np.eye(held.size) - (answered[held] * mass - np.outer(answered[held] @ mass, mass)) / tau
        change = lu_solve(lu_factor(slope, check_finite=False), -off[held], check_finite=False)
        direction = answered @ (mass * (change - mass @ change)) / tau - off
        length = 1.0
        while True:
            new_off, new_policy = residual(wins + length * direction)
            if float(np.linalg.norm(new_off)) <= (1.0 - 0.1 * length) * size or length < 1e-10:
                break
            length *= 0.5
        if length < 1e-10 or (length == 1.0 and size < 1e-11 and np.linalg.norm(new_off) > 0.5 * size):
            return wins, step
        wins, off, policy = wins + length * direction, new_off, new_policy
    return wins, max_steps
