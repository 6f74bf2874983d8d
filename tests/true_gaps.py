"""Adversarial problems, and their optima to 60 digits: what certificates are held against."""

import functools
import itertools
from dataclasses import dataclass

import mpmath
import numpy as np

import pbde_ref as pb

DIGITS = 60


@dataclass(frozen=True)
class Problem:
    """What was drawn, and what its numbers mean exactly."""

    annotator: object
    proposal: object
    reference: pb.FiniteDistribution
    seed: int

    @property
    def size(self):
        return self.annotator.size

    @functools.cached_property
    def p(self):
        """Prob(A ≻ B), of exactly the numbers that the annotator holds."""
        with mpmath.workdps(DIGITS):
            return probabilities(self.annotator)

    @functools.cached_property
    def drawn(self):
        """q(A, B) + q(B, A) off the diagonal, and q(A, A), of exactly the numbers that the proposal holds."""
        with mpmath.workdps(DIGITS):
            n, proposal = self.size, self.proposal
            q, ties = [[mpmath.mpf(0)] * n for _ in range(n)], [mpmath.mpf(0)] * n
            if isinstance(proposal, pb.ProductProposal):
                pairs = [(i, j, exact(proposal.a[i]) * exact(proposal.b[j])) for i in range(n) for j in range(n)]
            elif isinstance(proposal, pb.JointProposal):
                pairs = [(i, j, exact(proposal.weights[i, j])) for i in range(n) for j in range(n)]
            else:
                pairs = zip(proposal.x_a, proposal.x_b, map(exact, proposal.weights), strict=True)
            for i, j, weight in pairs:
                if i == j:
                    ties[i] += weight
                else:
                    q[i][j] += weight
                    q[j][i] += weight
            return q, ties

    @property
    def q(self):
        return self.drawn[0]

    @property
    def ties(self):
        return self.drawn[1]

    @functools.cached_property
    def wins(self):
        """c(A, B), the probability that A meets B and wins."""
        with mpmath.workdps(DIGITS):
            n = self.size
            return [[self.q[i][j] * self.p[i][j] if i != j else mpmath.mpf(0) for j in range(n)] for i in range(n)]


def exact(value):
    return mpmath.mpf(float(value))


def vector(values):
    return [exact(value) for value in values]


def probabilities(annotator):
    n = annotator.size
    if isinstance(annotator, pb.AnnotatorMixture):
        parts = [(exact(w), probabilities(one)) for w, one in zip(annotator.weights, annotator.annotators, strict=True)]
        # Weights add to one up to rounding, which is no preference.
        total = sum(w for w, _ in parts)
        return [[sum(w * part[i][j] for w, part in parts) / total for j in range(n)] for i in range(n)]
    if isinstance(annotator, pb.Annotator):
        odds = [mpmath.exp(x) for x in vector(annotator.utility)]
        return [[odds[i] / (odds[i] + odds[j]) for j in range(n)] for i in range(n)]
    given = annotator.matrix
    smaller = given <= given.T
    return [
        [exact(given[i, j]) if smaller[i, j] else 1 - exact(given[j, i]) for j in range(n)] for i in range(n)
    ]


def softmax(logits):
    top = max(logits)
    weights = [mpmath.exp(x - top) for x in logits]
    total = sum(weights)
    return [w / total for w in weights]


def total_variation(p, q):
    return sum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2


def solve_laplacian(weights, right):
    """L z = right with z = 0 at the last outcome of a connected graph; elimination without subtraction of weights."""
    n = len(right)
    w, r = [list(row) for row in weights], list(right)
    for k in range(n - 1):
        degree = sum(w[k][j] for j in range(k + 1, n))
        for i in range(k + 1, n):
            share = w[k][i] / degree
            r[i] += share * r[k]
            for j in range(k + 1, n):
                if i != j:
                    w[i][j] += share * w[k][j]
    z = [mpmath.mpf(0)] * n
    for k in range(n - 2, -1, -1):
        degree = sum(w[k][j] for j in range(k + 1, n))
        z[k] = (r[k] + sum(w[k][j] * z[j] for j in range(k + 1, n))) / degree
    return z


def logistic_loss(q, p, omega):
    """Expected cross-entropy, off the diagonal."""
    n = len(omega)

    def softplus(x):
        return mpmath.log1p(mpmath.exp(x)) if x < 0 else x + mpmath.log1p(mpmath.exp(-x))

    return sum(
        q[i][j] * (softplus(omega[i] - omega[j]) - p[i][j] * (omega[i] - omega[j]))
        for i in range(n) for j in range(i) if q[i][j]
    )  # fmt: skip


def logistic_optimum(q, p, start):
    """Utilities of least cross-entropy, by Newton's method; None where it does not end."""
    n, omega = len(start), list(start)
    for _ in range(400):
        slope = [mpmath.mpf(0)] * n
        curvature = [[mpmath.mpf(0)] * n for _ in range(n)]
        odds = [mpmath.exp(x) for x in omega]
        for i in range(n):
            for j in range(n):
                if q[i][j]:
                    won, lost = odds[i] / (odds[i] + odds[j]), odds[j] / (odds[i] + odds[j])
                    # Where both are close to 1, their complements have the digits.
                    slope[i] += q[i][j] * (p[j][i] * won - p[i][j] * lost)
                    curvature[i][j] = q[i][j] * won * lost
        step = solve_laplacian(curvature, [-x for x in slope])
        largest = max(abs(x) for x in step)
        omega = [x + min(1, 2 / largest) * y if largest else x for x, y in zip(omega, step, strict=True)]
        if largest < mpmath.mpf(10) ** (-DIGITS // 2):
            return omega
    return None


def hinge_loss(wins, delta, s):
    """Without the diagonal."""
    n = len(s)
    return sum(wins[i][j] * max(mpmath.mpf(0), delta - s[i] + s[j]) for i in range(n) for j in range(n) if wins[i][j])


def linear_hinge_optimum(wins):
    """The least loss at margin 1, and every s that has it, of those that fill levels from 0 downwards.

    Some optimum is whole-numbered with no level missing in any component; all such are tried, in whole multiples of
    2^-1000.
    """
    n = len(wins)
    whole = [(i, j, int(mpmath.ldexp(wins[i][j], 1000))) for i in range(n) for j in range(n) if wins[i][j]]
    values = {
        s: sum(c * max(0, 1 + s[i] - s[j]) for i, j, c in whole) for s in itertools.product(range(n), repeat=n)
    }
    best = min(values.values())
    # As many digits as the wins have: what differs by less is a tie.
    found = [s for s, value in values.items() if (value - best) * 10 ** (DIGITS - 6) <= best]
    return mpmath.ldexp(mpmath.mpf(best), -1000), found


def regularised_hinge_optimum(wins, delta, lambda_, reference, near):
    """The least loss with regulariser among policies whose pairs at the margin are those of the policy given, or fewer.

    Outcomes tied by such pairs keep their distances; how much mass they share follows from the balance of all others.
    """
    n, s, best = len(near), [mpmath.log(x) for x in near], None
    for width in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-9, 1e-12):
        tied = [[bool(wins[i][j]) and abs(s[i] - s[j] - delta) <= width for j in range(n)] for i in range(n)]
        flow = [mpmath.mpf(0)] * n
        for i in range(n):
            for j in range(n):
                if wins[i][j] and not tied[i][j] and s[i] - s[j] < delta:
                    flow[i] += wins[i][j]
                    flow[j] -= wins[i][j]
        policy, seen = [None] * n, set()
        for first in range(n):
            if first in seen:
                continue
            level, queue = {first: mpmath.mpf(0)}, [first]
            for i in queue:
                for j in range(n):
                    if (tied[i][j] or tied[j][i]) and j not in level:
                        level[j] = level[i] - delta if tied[i][j] else level[i] + delta
                        queue.append(j)
            seen |= set(level)
            mass = sum(reference[i] + flow[i] / lambda_ for i in level)
            total = sum(mpmath.exp(x) for x in level.values())
            for i, x in level.items():
                policy[i] = mass * mpmath.exp(x) / total
        if min(policy) > 0:
            value = regularised_hinge_loss(wins, delta, lambda_, reference, policy)
            if best is None or value < best[0]:
                best = value, policy
    return best


def regularised_hinge_loss(wins, delta, lambda_, reference, policy):
    s = [mpmath.log(x) for x in policy]
    return hinge_loss(wins, delta, s) - lambda_ * sum(p * x for p, x in zip(reference, s, strict=True))


def ranking_loss(wins, best, gamma, lengths, policy):
    v = [mpmath.log(x) for x in policy]
    scores = [x / length for x, length in zip(v, lengths, strict=True)]
    return hinge_loss(wins, 0, scores) - gamma * sum(b * x for b, x in zip(best, v, strict=True) if b)


def ranking_optimum(wins, best, gamma, lengths, near):
    """The least loss among policies in which the same outcomes tie as in the policy given, or fewer.

    A group that ties has one score; its tokens balance what the others leave it, up to the common multiplier, which
    normalises.
    """
    n, scores, least = len(near), [mpmath.log(x) / length for x, length in zip(near, lengths, strict=True)], None
    for width in (1e-1, 1e-2, 1e-4, 1e-6, 1e-9):
        mass = [gamma * b for b in best]
        for i in range(n):
            for j in range(n):
                if wins[i][j] and scores[j] - scores[i] > width:
                    mass[i] += wins[i][j] / lengths[i]
                    mass[j] -= wins[i][j] / lengths[j]
        groups, seen = [], set()
        for first in range(n):
            if first not in seen:
                group = [first]
                for i in group:
                    group += [j for j in range(n) if j not in group and abs(scores[i] - scores[j]) <= width]
                seen |= set(group)
                groups.append(group)
        tokens = [sum(mass[i] * lengths[i] for i in group) for group in groups]
        if min(tokens) <= 0:
            continue

        levels = [sum(scores[i] for i in group) / len(group) for group in groups]
        multiplier = sum(tokens) / sum(x * length for x, length in zip(near, lengths, strict=True))
        # Newton's method for Σ |x| e^{|x| s} = tokens / multiplier in each group, and for the sum of all e^{|x| s}.
        for _ in range(40):
            for k, (group, total) in enumerate(zip(groups, tokens, strict=True)):
                for _ in range(60):
                    terms = [lengths[i] * mpmath.exp(lengths[i] * levels[k]) for i in group]
                    slope = sum(t * lengths[i] for t, i in zip(terms, group, strict=True))
                    # In the logarithm, which is nearly a straight line.
                    step = mpmath.log(total / multiplier / sum(terms)) * sum(terms) / slope
                    levels[k] += step
                    if abs(step) < mpmath.mpf(10) ** -40:
                        break
            found = [mpmath.mpf(0)] * n
            slope = mpmath.mpf(0)
            for group, level, total in zip(groups, levels, tokens, strict=True):
                for i in group:
                    found[i] = mpmath.exp(lengths[i] * level)
                slope -= (total / multiplier) ** 2 / sum(lengths[i] ** 2 * found[i] for i in group)
            step = mpmath.log(sum(found)) * sum(found) / slope
            multiplier *= mpmath.exp(-step)
            if abs(step) < mpmath.mpf(10) ** -40:
                break
        total = sum(found)
        value = ranking_loss(wins, best, gamma, lengths, [x / total for x in found])
        if least is None or value < least[0]:
            least = value, [x / total for x in found]
    return least


def connected(rng, n):
    """Edges of a connected graph: a path, a star, a tree, a bipartite graph, some of all pairs, or all."""
    kind = rng.integers(6)
    order = rng.permutation(n)
    if kind == 0:
        return [(order[i], order[i + 1]) for i in range(n - 1)]
    if kind == 1:
        return [(order[0], order[i]) for i in range(1, n)]
    tree = [(order[rng.integers(i)], order[i]) for i in range(1, n)]
    everything = [(i, j) for i in range(n) for j in range(i + 1, n)]
    if kind == 2:
        return tree
    if kind == 3:
        half = max(1, n // 2)
        return [(order[i], order[j]) for i in range(half) for j in range(half, n)]
    if kind == 4:
        return tree + [pair for pair in everything if rng.random() < 0.3]
    return everything


def decades(rng, size, most):
    return 10.0 ** rng.uniform(-rng.choice([0.0, 0.3 * most, most]), 0.0, size)


def draw_proposal(rng, n, most, product=False):
    kind = rng.integers(2 if product else 4)
    if kind == 0:
        return pb.ProductProposal(decades(rng, n, most))
    if kind == 1:
        return pb.ProductProposal(decades(rng, n, most), decades(rng, n, most))
    pairs = connected(rng, n)
    weights = decades(rng, len(pairs), most)
    flip = rng.random(len(pairs)) < 0.5
    a = np.array([j if f else i for (i, j), f in zip(pairs, flip, strict=True)])
    b = np.array([i if f else j for (i, j), f in zip(pairs, flip, strict=True)])
    if kind == 2:
        joint = np.zeros((n, n))
        joint[a, b] = weights
        if rng.random() < 0.5:
            joint += np.diag(decades(rng, n, most))
        return pb.JointProposal(joint)
    twice = rng.integers(0, a.size, size=rng.integers(0, 4))
    return pb.PairListProposal(
        np.concatenate([a, b[twice]]), np.concatenate([b, a[twice]]), np.concatenate([weights, weights[twice]])
    )


def draw_annotator(rng, n, spreads, matrices=True):
    kind = rng.integers(5 if matrices else 4)

    def single():
        logits = rng.uniform(0.0, rng.choice(spreads), n)
        if rng.random() < 0.3:
            logits = np.round(logits)  # ties
        return pb.Annotator(pb.FiniteDistribution(logits), pb.luce())

    if kind < 2:
        return single()
    if kind < 4:
        members = [single() for _ in range(rng.integers(2, 4))]
        if rng.random() < 0.3:
            close = pb.FiniteDistribution(members[0].utility + 1e-8 * rng.normal(size=n))
            members[1] = pb.Annotator(close, pb.luce())
        return pb.AnnotatorMixture(rng.random(len(members)) + 0.05, members)
    p = np.triu(rng.random((n, n)) ** rng.choice([1.0, 20.0]), 1)
    p = np.where(rng.random((n, n)) < 0.5, p, 1.0 - p)
    p = np.triu(p, 1)
    return pb.PreferenceMatrix(p + np.tril(1.0 - p.T, -1) + 0.5 * np.eye(n))


def draw(seed, *, largest=6, most=12.0, spreads=(0.1, 3.0, 30.0), matrices=True, product=False):
    """A problem that nobody chose; weights over up to `most` decades."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, largest + 1))
    reference = pb.FiniteDistribution(rng.uniform(0.0, rng.choice([0.0, 3.0, 40.0, 134.0]), n))
    annotator = draw_annotator(rng, n, spreads, matrices)
    return Problem(annotator, draw_proposal(rng, n, most, product), reference, seed)


def count_failures(check, seeds):
    """Seeds at which a certificate is below the truth, and how many were checked and converged."""
    failures, checked, converged = [], 0, 0
    for seed in seeds:
        with mpmath.workdps(DIGITS):
            found = check(seed)
        if found is None:
            continue
        checked, converged = checked + 1, converged + bool(found[0])
        failures += [(seed, name, float(bound), float(truth)) for name, bound, truth in found[1] if not bound >= truth]
    return failures, checked, converged
