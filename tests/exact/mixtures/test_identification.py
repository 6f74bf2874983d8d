"""What unnamed annotators' answers determine: ranks by differences and in fractions, information, simulated guesses."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.exact.mixtures import expected_mixture_hessian
from pbde_ref.exact.mixtures.identification import (
    answers_to_tell_apart,
    information_with_identities,
    mixture_rank,
    rank_modulo,
)

F = Fraction


def rank_by_differences(k, n, m, size, rng):
    """Rank of the laws' derivative by complex steps and singular values."""
    choose = itertools.combinations if size == 2 else itertools.permutations
    events = list(choose(range(n), size))
    laws = [law for s in range(1, m + 1) for law in itertools.combinations_with_replacement(range(len(events)), s)]

    def observed(x):
        u = np.concatenate([np.zeros((k, 1)), x[: k * (n - 1)].reshape(k, n - 1)], axis=1)
        w = np.append(x[k * (n - 1) :], 1 - x[k * (n - 1) :].sum())
        t = np.exp(u)
        f = np.array(
            [[np.prod([row[e[i]] / sum(row[y] for y in e[i:]) for i in range(size - 1)]) for e in events] for row in t]
        )
        return np.array([sum(w[j] * np.prod(f[j, list(law)]) for j in range(k)) for law in laws])

    x = np.concatenate([rng.normal(scale=1.5, size=k * (n - 1)), rng.dirichlet(np.full(k, 5.0))[:-1]]).astype(complex)
    jacobian = np.array([observed(x + 1e-30j * e).imag / 1e-30 for e in np.eye(x.size)])
    values = np.linalg.svd(jacobian, compute_uv=False)
    return int((values > 1e-10 * values[0]).sum())


@pytest.mark.parametrize(
    ("k", "n", "m", "kind"),
    [(2, 4, 1, "pairs"), (2, 5, 1, "pairs"), (2, 3, 2, "pairs"), (2, 2, 2, "pairs"), (2, 2, 3, "pairs"),
     (2, 3, 1, "rankings"), (3, 3, 1, "rankings"), (3, 3, 2, "pairs"), (4, 3, 2, "pairs"), (4, 4, 1, "rankings")],
)  # fmt: skip
def test_ranks_by_another_path(k, n, m, kind):
    rng = np.random.default_rng(k + 10 * n)
    found = mixture_rank(k, n, m, kind, rng=np.random.default_rng())
    assert found.rank == rank_by_differences(k, n, m, 2 if kind == "pairs" else 3, rng)
    assert found.parameters == k * n - 1


def test_from_how_many_outcomes_pairs_suffice():
    """K n - 1 equations: for two annotators from five outcomes, three from seven, four from nine; not one earlier."""
    rng = np.random.default_rng()
    for k, n in ((2, 5), (3, 7), (4, 9)):
        assert mixture_rank(k, n, rng=rng).determined
        before = mixture_rank(k, n - 1, rng=rng)
        assert not before.determined
        assert before.equations < before.parameters  # so that no mixture is, whatever was drawn


def test_what_repairs_few_outcomes():
    rng = np.random.default_rng()
    for k, n in itertools.product((2, 3, 4), (3, 4)):
        assert mixture_rank(k, n, answers=2, rng=rng).determined == ((k, n) != (4, 3))
        assert mixture_rank(k, n, kind="rankings", rng=rng).determined == ((k, n) not in ((3, 3), (4, 3), (4, 4)))
        assert mixture_rank(k, n, answers=3, rng=rng).determined


def test_drawn_laws_are_a_lower_bound():
    few = mixture_rank(2, 6, rng=0, most=7)
    assert (few.equations, few.all_equations) == (7, False)
    assert few.rank <= 7 < few.parameters
    assert mixture_rank(2, 6, rng=0).determined


def test_rank_modulo_against_fractions():
    rng = np.random.default_rng()
    for _ in range(10):
        a = (rng.integers(-5, 6, (6, 3)) @ rng.integers(-5, 6, (3, 5))).tolist()
        left, rank = [[F(x) for x in row] for row in a], 0
        for c in range(5):
            pivot = next((i for i in range(rank, 6) if left[i][c]), None)
            if pivot is not None:
                left[rank], left[pivot] = left[pivot], left[rank]
                left[rank + 1 :] = [
                    [x - row[c] / left[rank][c] * y for x, y in zip(row, left[rank], strict=True)]
                    for row in left[rank + 1 :]
                ]
                rank += 1
        assert rank_modulo(a) == rank


def test_signatures_add_information():
    """Never less with names than without; the same where nobody else answers; positive but for constants."""
    rng = np.random.default_rng()
    u, w, q = rng.normal(scale=2, size=(2, 5)), rng.dirichlet([3, 3]), pb.JointProposal(rng.random((5, 5)))
    crowd = pb.AnnotatorMixture(w, [pb.Annotator(pb.FiniteDistribution(x), pb.luce()) for x in u])
    signed, unsigned = information_with_identities(w, u, q), expected_mixture_hessian(crowd, w, u, q)
    assert np.linalg.eigvalsh(signed - unsigned)[0] > -1e-14
    assert np.linalg.eigvalsh(signed)[3] > 1e3 * abs(np.linalg.eigvalsh(signed)[2])  # three constants
    alone = pb.Annotator(pb.FiniteDistribution(u[0]), pb.luce())
    np.testing.assert_allclose(
        information_with_identities([1], u[:1], q), expected_mixture_hessian(alone, [1], u[:1], q), atol=1e-15
    )


def binomial_error(count, p, r):
    """Bayes error by hand: Bin(count, p) against Bin(count, r)."""
    laws = [[math.comb(count, i) * x**i * (1 - x) ** (count - i) for i in range(count + 1)] for x in (p, r)]
    return sum(min(pair) for pair in zip(*laws, strict=True)) / 2


def test_answers_to_tell_apart_by_hand():
    one, pair = pb.JointProposal([[0, 1], [0, 0]]), ([9, 1], [1, 1])
    first, second = (pb.Annotator(pb.FiniteDistribution.from_weights(w), pb.luce()) for w in pair)
    needed = next(c for c in range(1, 99) if binomial_error(c, 0.9, 0.5) <= 0.05)
    assert answers_to_tell_apart(first, second, one, 0.05) == needed


def test_answers_to_tell_apart_by_simulation():
    """The promised number is enough for simulated guesses within 5 %, and 5 % fewer answers are not."""
    rng, n, asked = np.random.default_rng(11), 5, 0.1
    first, second = (pb.Annotator(pb.FiniteDistribution(rng.normal(scale=0.7, size=n)), pb.luce()) for _ in range(2))
    mu = np.ones(n) / n
    needed = answers_to_tell_apart(first, second, pb.ProductProposal(mu), asked)
    p, r = first.preference_probabilities(), second.preference_probabilities()

    def simulated(count, runs=40_000):
        a, b = rng.integers(n, size=(2, runs, count))
        truth = rng.random(runs) < 0.5
        won = rng.random((runs, count)) < np.where(truth[:, None], p[a, b], r[a, b])
        ratio = np.where(won, np.log(p / r)[a, b], np.log(p / r)[b, a]).sum(axis=1)
        return float(np.mean((ratio > 0) != truth))

    assert simulated(needed) < 1.05 * asked
    assert simulated(int(0.95 * needed) - 1) > asked
    assert simulated(needed // 2) > 1.3 * asked  # control


def test_refusals():
    even = pb.Annotator(pb.uniform(range(2)), pb.luce())
    sure, pair = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]]), pb.JointProposal([[0, 1], [0, 0]])
    with pytest.raises(ValueError, match="`first` and `second` must hold the same"):
        answers_to_tell_apart(even, sure, pair, 0.1)
    with pytest.raises(ValueError, match="`first` and `second` must differ"):
        answers_to_tell_apart(even, even, pair, 0.1)
    with pytest.raises(ValueError, match="`error` must be between"):
        answers_to_tell_apart(even, even, pair, 0.5)
    with pytest.raises(ValueError, match="`n_outcomes` must be at least 3"):
        mixture_rank(2, 2, kind="rankings")
