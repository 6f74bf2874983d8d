"""The text of `paper.py` on arrays: utilities, log-probabilities and tables of preferences in, floats out.

It computes in decimals, with the digits that 1 − p needs beside p. What is not an equation of the paper is the
derivative of one, and says so.
"""

from decimal import Context, Decimal, localcontext
from types import SimpleNamespace

import numpy as np

from pbde_ref import paper

DECIMAL = SimpleNamespace(exp=Decimal.exp, log=Decimal.ln)
DIGITS = 40


def precise(*values):
    """Enough digits for the rarer of two answers whose log-odds are differences of these values."""
    ends = [float(np.max(v)) - float(np.min(v)) for v in map(np.asarray, values)]
    return localcontext(Context(prec=DIGITS + int(max(ends, default=0.0) / 2.3)))


def number(value):
    return Decimal(float(value))


def numbers(values):
    return [number(x) for x in values]


def rows(matrix):
    return [numbers(row) for row in matrix]


def exponentials(log_values):
    return [x.exp() for x in numbers(log_values)]


def sigmoid(z):
    with precise([0.0, abs(z)]):
        return float(paper.sigma(number(z), DECIMAL))


def answers(preference):
    """A table as the text takes it, from the smaller of each two entries: the larger has lost digits."""
    p = rows(preference)
    n = range(len(p))
    table = [[p[a][b] if p[a][b] <= p[b][a] else 1 - p[b][a] for b in n] for a in n]
    return lambda a, b: table[a][b]


def model(utilities):
    """Eq. (2)."""
    r = numbers(utilities)
    return lambda a, b: paper.equation_2(r, a, b, DECIMAL)


def tabulated(preference, size):
    return np.array([[float(preference(a, b)) for b in range(size)] for a in range(size)])


def preferences(log_p, f, g):
    """Eq. (11) for all pairs."""
    with precise(np.multiply(f, log_p) + g):
        p, f, g = exponentials(log_p), numbers(f), numbers(g)
        return tabulated(lambda a, b: paper.equation_11(p, f, g, a, b, DECIMAL), len(p))


def cross_entropy(preference, omega, q):
    """Eq. (7)."""
    with precise(omega):
        return float(paper.equation_7(rows(q), answers(preference), model(omega), DECIMAL))


def entropy(preference, q):
    """The part of Eq. (7) that no model changes: the annotator as its own model."""
    with precise():
        return float(paper.equation_7(rows(q), answers(preference), answers(preference), DECIMAL))


def kl(preference, omega, q):
    """Eq. (8)."""
    with precise(omega):
        return float(paper.equation_8(rows(q), answers(preference), model(omega), DECIMAL))


def kl_gradient(preference, omega, q):
    """Derivatives of Eq. (7) and of Eq. (8) by utilities: of each pair q (Eq. (2) − p), with both signs."""
    gradient = np.zeros(len(q))
    with precise(omega):
        right, found = answers(preference), model(omega)
        for a, b in paper.pairs(q):
            slope = float(number(q[a][b]) * (found(a, b) - right(a, b)))
            gradient[a] += slope
            gradient[b] -= slope
    return gradient


def hessian(omega, q):
    """Second derivatives of Eq. (7) and (8) by utilities: weights q σ(d) σ(−d) on (e_A − e_B)(e_A − e_B)ᵀ."""
    with precise(omega):
        found = model(omega)
        return scatter({(a, b): number(q[a][b]) * found(a, b) * found(b, a) for a, b in paper.pairs(q)}, len(q))


def scatter(weights, size):
    """Σ over pairs of weight (e_A − e_B)(e_A − e_B)ᵀ."""
    total = np.zeros((size, size))
    for (a, b), weight in weights.items():
        difference = np.eye(size)[a] - np.eye(size)[b]
        total += float(weight) * np.outer(difference, difference)
    return total


def data(preference, q):
    """Eq. (6)."""
    return paper.equation_6(rows(q), answers(preference))


def slic(preference, log_pi, q, delta, lambda_, reference):
    """Eq. (20) in expectation."""
    with precise():
        D, pi = data(preference, q), exponentials(log_pi)  # noqa: N806
        return float(paper.equation_20(D, numbers(reference), pi, number(delta), number(lambda_), DECIMAL))


def ipo(preference, log_ratio, q, tau):
    """Eq. (23) in expectation, of log-ratios to the reference."""
    with precise():
        pi, ones = exponentials(log_ratio), [Decimal(1)] * len(log_ratio)
        return float(paper.equation_23(data(preference, q), pi, ones, number(tau), DECIMAL))


def identity_preference(pi, preference, mu, tau, reference):
    """Eq. (22)."""
    with precise():
        pi, mu, pre = numbers(pi), numbers(mu), numbers(reference)
        return float(paper.equation_22(pi, mu, answers(preference), pre, number(tau), DECIMAL))


def controlled_reward(log_policy, rewards, beta, log_reference):
    """Eq. (12), in which the text divides by zero where it is minus infinity."""
    with precise():
        pi, pre = exponentials(log_policy), exponentials(log_reference)
        if any(p > 0 and r == 0 for p, r in zip(pi, pre, strict=True)):
            return -np.inf
        return float(paper.equation_12(pi, pre, numbers(rewards), number(beta), DECIMAL))


def controlled_reward_gradient(log_policy, rewards, beta, log_reference):
    """Eq. (5) for softmax logits, with d log π(x) / dθ_i = [x = i] − π(i)."""
    with precise():
        pi, pre = exponentials(log_policy), exponentials(log_reference)
        slopes = [[int(x == i) - pi[i] for i in range(len(pi))] for x in range(len(pi))]
        gradient = paper.equation_5(pi, pre, numbers(rewards), number(beta), slopes, DECIMAL)
        return np.array(gradient, dtype=float)


def rrhf(rankings, log_pi, lengths, gamma):
    """Eq. (19) and what it is added to, of rankings and their probabilities."""
    with precise():
        pi, lengths = exponentials(log_pi), numbers(lengths)
        rankings = [(ranking, number(weight)) for ranking, weight in rankings]
        likelihood = paper.best_likelihood(rankings, pi, DECIMAL)
        return float(paper.equation_19(rankings, pi, lengths, DECIMAL) + number(gamma) * likelihood)


def mixture(weights, utilities):
    """Eq. (30) of models whose policies have these utilities as their log-weights."""
    w, policies = numbers(weights), [exponentials(u) for u in utilities]
    return lambda a, b: paper.equation_30(w, policies, a, b)
