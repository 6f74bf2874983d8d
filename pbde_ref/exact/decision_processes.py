r"""Finite Markov decision processes, section 2.1: values, visits and the exact policy gradient.

:math:`r(x, a)` is the reward of action a in state x, :math:`P(x, a)(x')` the next state's probability,
:math:`0 \le \gamma < 1` the discount. A single state with :math:`\gamma = 0` is the setting of Eq. (3) and (4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.display import Shown
from pbde_ref.exact.selection import stationary_distribution
from pbde_ref.numerics import log_normalize
from pbde_ref.validation import FloatArray, array, number, probability_weights, reject, transition_matrix, vector

__all__ = ["DecisionProcess"]


@dataclass(frozen=True, eq=False, init=False)
class DecisionProcess(Shown):
    r"""A decision process with m states and k actions.

    Parameters
    ----------
    transition : array_like, shape (m, k, m)
        Entry [x, a, x'] is the probability of x' after action a in state x.
    rewards : array_like, shape (m, k)
        Finite.
    gamma : float
        Discount, 0 <= gamma < 1.

    Raises
    ------
    ValueError
        If shapes differ, a row of `transition` is no distribution, or `gamma` is out of range.

    Notes
    -----
    Policies are given as logits, shape (m, k): :math:`\pi(x)(a) = e^{\theta_{xa}} / \sum_b e^{\theta_{xb}}`.
    Proof of the policy-gradient theorem: ``proofs/policy_gradient.md``.

    Examples
    --------
    Two states; action 1 moves to the other one, and state 1 pays 1 whatever is done there.

    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> process = pb.DecisionProcess([[[1, 0], [0, 1]], [[0, 1], [1, 0]]], [[0, 0], [1, 1]], gamma=0.5)
    >>> even = np.zeros((2, 2))
    >>> process.values(even)
    array([0.5, 1.5])
    >>> process.action_values(even)
    array([[0.25, 0.75],
           [1.75, 1.25]])
    >>> process.gradient(even, start=[1, 0])
    array([[-0.1875,  0.1875],
           [ 0.0625, -0.0625]])
    """

    transition: FloatArray
    rewards: FloatArray
    gamma: float

    def __init__(self, transition: ArrayLike, rewards: ArrayLike, gamma: float) -> None:
        paid, moves = array("rewards", rewards), array("transition", transition)
        if paid.ndim != 2 or paid.size == 0:
            raise ValueError(f"`rewards` must have shape (m, k) with at least one entry; got {paid.shape}")
        reject("rewards", "finite", paid, ~np.isfinite(paid))
        if moves.shape != (*paid.shape, paid.shape[0]):
            raise ValueError(f"`transition` must have shape {(*paid.shape, paid.shape[0])}; got {moves.shape}")
        for action in range(paid.shape[1]):
            transition_matrix(f"transition[:, {action}]", moves[:, action])
        gamma = number("gamma", gamma)
        if not 0.0 <= gamma < 1.0:
            raise ValueError(f"`gamma` must be at least 0 and below 1; got {gamma}")
        moves = moves / moves.sum(axis=2, keepdims=True)
        for values in (moves, paid):
            values.flags.writeable = False
        object.__setattr__(self, "transition", moves)
        object.__setattr__(self, "rewards", paid)
        object.__setattr__(self, "gamma", gamma)

    def values(self, logits: ArrayLike) -> FloatArray:
        r"""Expected discounted return from each state, :math:`V = (1 - \gamma P_\pi)^{-1} r_\pi`, shape (m,)."""
        policy = self._policy(logits)
        return np.asarray(np.linalg.solve(self._resolvent(policy), (policy * self.rewards).sum(axis=1)))

    def action_values(self, logits: ArrayLike) -> FloatArray:
        r""":math:`Q(x, a) = r(x, a) + \gamma\, \mathbb{E}_{x' \sim P(x, a)} V(x')`, shape (m, k)."""
        return np.asarray(self.rewards + self.gamma * self.transition @ self.values(logits))

    def visits(self, logits: ArrayLike, start: ArrayLike) -> FloatArray:
        r"""Discounted visits from a start, shape (m,).

        .. math:: d(x) = (1 - \gamma) \sum_{t \ge 0} \gamma^t\, \text{Prob}(x_t = x)
        """
        first = probability_weights("start", vector("start", start, size=len(self.rewards)))
        return np.asarray((1.0 - self.gamma) * np.linalg.solve(self._resolvent(self._policy(logits)).T, first))

    def stationary(self, logits: ArrayLike) -> FloatArray:
        r"""The stationary state distribution :math:`\mu_\pi`, shape (m,); the chain must have only one."""
        return stationary_distribution(self._chain(self._policy(logits))).pmf

    def gradient(self, logits: ArrayLike, start: ArrayLike) -> FloatArray:
        r"""Gradient of :math:`\sum_x \rho(x) V(x)` for the start :math:`\rho`, shape (m, k).

        .. math:: \frac{1}{1 - \gamma} \sum_x d(x) \sum_a Q(x, a)\, \nabla \pi(x)(a), \qquad
                  \nabla_{xa} = \frac{d(x)}{1 - \gamma}\, \pi(x)(a)\, [Q(x, a) - V(x)]

        With :math:`\mu_\pi` in the place of :math:`d`, as the paper prints it, it is the gradient from the start
        :math:`\rho = \mu_\pi`, and from no other in general.
        """
        policy, q = self._policy(logits), self.action_values(logits)
        advantage = q - (policy * q).sum(axis=1, keepdims=True)
        return np.asarray(self.visits(logits, start)[:, None] / (1.0 - self.gamma) * policy * advantage)

    def _policy(self, logits: ArrayLike) -> FloatArray:
        given = array("logits", logits)
        if given.shape != self.rewards.shape:
            raise ValueError(f"`logits` must have shape {self.rewards.shape}; got {given.shape}")
        reject("logits", "finite", given, ~np.isfinite(given))
        return np.exp(np.array([log_normalize(row) for row in given]))

    def _chain(self, policy: FloatArray) -> FloatArray:
        return np.einsum("xa,xay->xy", policy, self.transition)

    def _resolvent(self, policy: FloatArray) -> FloatArray:
        return np.asarray(np.eye(len(policy)) - self.gamma * self._chain(policy))
