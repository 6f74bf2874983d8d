"""The bridge from the Coq proofs to the package: the definitions of `proofs/formal/definitions.v` that compute
something, transcribed once by `proofs/formal/bridge.md`, have the package's values.

Rational definitions are exact here (`Fraction`), real ones have 50 digits (mpmath). Functions keep their Coq names; `n`
is the length of the vectors. Where a utility is the logarithm of positive rationals, u = log w, the function takes w.
"""

import math
import re
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb

FORMAL = Path(__file__).parents[1] / "proofs" / "formal"
HALF = Fraction(1, 2)
real = mpmath.mpmathify  # a Fraction becomes a number of the working precision


# --- The definitions ---


def sum_(n, term):
    return sum((term(x) for x in range(n)), Fraction(0))


def sigma(z):
    return 1 / (1 + mpmath.exp(-z))


def softplus(z):
    return mpmath.log(1 + mpmath.exp(z))


def sigma_log(w):
    """`sigma (ln w)`."""
    return w / (1 + w)


def preference(w):
    """`preference u`, u = log w, as a matrix."""
    return [[sigma_log(a / b) for b in w] for a in w]


def luce(p):
    return [[a / (a + b) for b in p] for a in p]


def logit(p):
    return ln(p / (1 - p))


def annotator_mixture(t, p, q):
    return [between(t, a, b) for a, b in zip(p, q, strict=True)]


def pbde_log(f, h, p):
    """exp of `pbde f g p` for whole numbers f and g = log h."""
    return [px**fx * hx for fx, hx, px in zip(f, h, p, strict=True)]


def ln(x):
    return mpmath.log(real(x)) if x > 0 else mpmath.mpf(0)  # Coq's ln is 0 there


def kl(p, s):
    return real(p) * ln(p / s) + real(1 - p) * ln((1 - p) / (1 - s))


def cross_entropy(p, s):
    return -real(p) * ln(s) - real(1 - p) * ln(1 - s)


def entropy(p):
    return -real(p) * ln(p) - real(1 - p) * ln(1 - p)


def over_pairs(q, term):
    n = len(q)
    return sum_(n, lambda a: sum_(n, lambda b: real(q[a][b]) * term(a, b)))


def expected_kl(q, p, s):
    return over_pairs(q, lambda a, b: kl(p[a][b], s[a][b]))


def expected_cross_entropy(q, p, s):
    return over_pairs(q, lambda a, b: cross_entropy(p[a][b], s[a][b]))


def expected_entropy(q, p):
    return over_pairs(q, lambda a, b: entropy(p[a][b]))


def lemma_1_loss(q, chi, omega):
    """χ and ω as logarithms."""
    return expected_kl(q, preference(chi), preference(omega))


def policy_loss(q, p, f, h, pi):
    """Whole numbers f, g = log h."""
    return expected_kl(q, p, preference(pbde_log(f, h, pi)))


def prompts_loss(rho, q, p, f, h, pi):
    return sum(real(r) * policy_loss(*one) for r, *one in zip(rho, q, p, f, h, pi, strict=True))


def between(t, u, v):
    return [(1 - t) * a + t * b for a, b in zip(u, v, strict=True)]


def comparison_graph(q, a, b):
    return a != b and q[a][b] + q[b][a] > 0


def paths(q):
    """Pairs joined by a `path`; `connected` if these are all."""
    n = len(q)
    joined = {(a, a) for a in range(n)}
    while more := {(a, c) for a, b in joined for c in range(n) if comparison_graph(q, b, c)} - joined:
        joined |= more
    return joined


def normalise(w):
    return [x / sum(w) for x in w]


def kl_divergence(p, s):
    return sum_(len(p), lambda x: real(p[x]) * ln(p[x] / s[x]))


def expected_reward(r, pi):
    return sum_(len(pi), lambda x: pi[x] * r[x])


def kl_control(beta, r, pi_pre, pi):
    return sum_(len(pi), lambda x: real(pi[x] * r[x])) - real(beta) * kl_divergence(pi, pi_pre)


def policy_at(w, k, h, c):
    """`policy_at chi f g C`, χ = log w, f = 1/k, g = log h, C = log c."""
    return [(wx * c / hx) ** kx for wx, kx, hx in zip(w, k, h, strict=True)]


def policy_13(w, pi_pre):
    """`policy_13` for the reward r = β log w."""
    return normalise([a * b for a, b in zip(pi_pre, w, strict=True)])


def policy_16(k, pi_pre, p):
    """`policy_16` for β = 1/k."""
    return normalise([a * b**k for a, b in zip(pi_pre, p, strict=True)])


def policy_18(alpha, pi_pre, p):
    return normalise([a ** (1 - alpha) * b**alpha for a, b in zip(pi_pre, p, strict=True)])


def barker(q, p):
    n = len(q)

    def stay(a):
        return 1 - sum_(n, lambda c: 0 if a == c else q[a][c] * p[c][a])

    return [[stay(a) if a == b else q[a][b] * p[b][a] for b in range(n)] for a in range(n)]


def winners(q, p):
    n = len(q)
    return [sum_(n, lambda b, x=x: (q[x][b] + q[b][x]) * p[x][b]) for x in range(n)]


def expected_preference(mu, p):
    n = len(mu)
    return [sum_(n, lambda b, x=x: mu[b] * p[x][b]) for x in range(n)]


def psi_po_identity(tau, mu, p, pi_pre, pi):
    n = len(mu)
    wins = sum_(n, lambda a: sum_(n, lambda b: pi[a] * mu[b] * p[a][b]))
    return real(wins) - real(tau) * kl_divergence(pi, pi_pre)


def ipo_loss(tau, mu, p, s):
    n, target = len(mu), 1 / (2 * tau)

    def pair(a, b):
        d = s[a] - s[b]
        return mu[a] * mu[b] * (p[a][b] * (d - target) ** 2 + (1 - p[a][b]) * (-d - target) ** 2)

    return sum_(n, lambda a: sum_(n, lambda b: pair(a, b)))


def log_ratio(pi, pi_pre):
    return [ln(a / b) for a, b in zip(pi, pi_pre, strict=True)]


def ipo_policy_loss(tau, mu, p, pi_pre, pi):
    return ipo_loss(real(tau), [*map(real, mu)], [[*map(real, row)] for row in p], log_ratio(pi, pi_pre))


def ipo_score(tau, mu, p):
    return [x / tau for x in expected_preference(mu, p)]


def policy_ipo(tau, mu, p, pi_pre):
    return normalise([real(a) * mpmath.exp(real(t)) for a, t in zip(pi_pre, ipo_score(tau, mu, p), strict=True)])


# Coq name → name here, where it differs.
RENAMED = {"sum": "sum_", "pbde": "pbde_log"}


def test_every_computing_definition_is_transcribed():
    """The definitions of `definitions.v` that are no propositions, the rows of `bridge.md`, and the functions above."""
    source = re.sub(r"\(\*.*?\*\)", " ", (FORMAL / "definitions.v").read_text("utf-8"), flags=re.S)
    head = r"\b(?:Definition|Fixpoint|Inductive)\s+(\w+)\s*((?:\{[^}]*\}|\([^)]*\)|\s)*):\s*(.*?):="
    computing = {name for name, _, result in re.findall(head, source, flags=re.S) if "Prop" not in result}
    rows = re.findall(r"^\| `(\w+)", (FORMAL / "bridge.md").read_text("utf-8"), flags=re.M)
    assert computing == set(rows) - {"comparison_graph", "connected"}
    assert [name for name in computing if not callable(globals().get(RENAMED.get(name, name)))] == []


# --- Rational problems ---

small = st.sampled_from(sorted({Fraction(a, b) for a in range(1, 7) for b in range(1, 7)}, key=lambda x: abs(x - 1)))
whole = st.integers(1, 3)


def weights(n, values=small):
    return st.lists(values, min_size=n, max_size=n)


def floats(values):
    return np.array(values, dtype=float)


@st.composite
def problems(draw):
    """Distributions p, pi_pre, mu, pi; weights w, h; powers k; a joint proposal q; a symmetric kernel; any
    preferences P, 0 and 1 included.
    """
    n = draw(st.integers(1, 4))
    p, pi_pre, mu, pi = (normalise(draw(weights(n))) for _ in range(4))
    w, h, k = draw(weights(n)), draw(weights(n)), draw(weights(n, whole))
    sparse = st.integers(0, 3).map(lambda i: Fraction(max(0, i - 1)))
    q = [draw(weights(n, sparse)) for _ in range(n)]
    q[draw(st.integers(0, n - 1))][draw(st.integers(0, n - 1))] += 1
    total = sum(map(sum, q))
    q = [[x / total for x in row] for row in q]
    kernel = [[Fraction(0)] * n for _ in range(n)]
    preferences = [[HALF] * n for _ in range(n)]
    for a in range(n):
        for b in range(a):
            kernel[a][b] = kernel[b][a] = draw(sparse) / (2 * n)
            preferences[a][b] = Fraction(draw(st.integers(0, 6)), 6)
            preferences[b][a] = 1 - preferences[a][b]
    for a in range(n):
        kernel[a][a] = 1 - sum(kernel[a])
    return SimpleNamespace(n=n, p=p, pi_pre=pi_pre, mu=mu, pi=pi, w=w, h=h, k=k, q=q, kernel=kernel, P=preferences)


def from_fractions(p):
    return pb.FiniteDistribution.from_weights(floats(p))


def luce_annotator(p):
    return pb.Annotator(from_fractions(p), pb.luce())


def both_kinds(problem):
    """An annotator with a utility, one in general without, and their exact preferences."""
    return (luce_annotator(problem.p), luce(problem.p)), (pb.PreferenceMatrix(floats(problem.P)), problem.P)


def process(f, h):
    return pb.PBDE(floats(f), np.log(floats(h)))


# Weights between 1/6 and 6, at most four, to powers up to three: logarithms below 10 in size, so that probabilities
# carry relative errors of at most about 10 · 2⁻⁵², and their sums and products a few times that.
CLOSE = {"rtol": 2e-14, "atol": 0}
# A divergence is a difference of such numbers, of size one.
LOSS = {"rel": 0, "abs": 1e-13}


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


# --- Definitions against the package ---


@given(problem=problems())
def test_preferences(problem):
    """`luce`, `preference`, `pbde`: the annotators' matrices, and `equation_2`, `luce_is_pbde` exactly."""
    p, ones = problem.p, [1] * problem.n
    assert luce(p) == preference(p) == preference(pbde_log(ones, [Fraction(1)] * problem.n, p))
    np.testing.assert_allclose(luce_annotator(p).preference_probabilities(), floats(luce(p)), **CLOSE)
    for f in (problem.k, ones):
        exact = preference(pbde_log(f, problem.h, p))
        found = pb.Annotator(from_fractions(p), process(f, problem.h)).preference_probabilities()
        np.testing.assert_allclose(found, floats(exact), **CLOSE)


@given(problem=problems())
def test_losses(problem):
    """`expected_kl`, `expected_cross_entropy`, `expected_entropy`, `lemma_1_loss`, `policy_loss`, for an annotator with
    a utility and for any preferences; zero loss where `theorem_2` says.
    """
    q, w, f = problem.q, problem.w, problem.k
    proposal, utilities = pb.JointProposal(floats(q)), np.log(floats(w))
    for annotator, p in both_kinds(problem):
        exact = [expected_kl(q, p, preference(w)), expected_cross_entropy(q, p, preference(w)), expected_entropy(q, p)]
        assert mpmath.almosteq(exact[1], exact[0] + exact[2], abs_eps=1e-45)
        found = [
            pb.expected_kl(annotator, utilities, proposal).value,
            pb.expected_cross_entropy(annotator, utilities, proposal).value,
            pb.expected_entropy(annotator, proposal),
        ]
        assert found == pytest.approx(floats(exact), **LOSS)
        omega = process(f, problem.h).utility(from_fractions(problem.pi).log_pmf)
        found = pb.expected_kl(annotator, omega, proposal).value
        assert found == pytest.approx(float(policy_loss(q, p, f, problem.h, problem.pi)), **LOSS)
    assert lemma_1_loss(q, problem.p, w) == expected_kl(q, luce(problem.p), preference(w))
    shared = preference(pbde_log(f, problem.h, problem.p))
    assert policy_loss(q, shared, f, problem.h, problem.p) == 0


@given(one=problems(), other=problems(), rho=small)
def test_losses_of_prompts(one, other, rho):
    """`prompts_loss`: two prompts of any sizes, as one flat array of answers."""
    both = [problem for problem in (one, other) if problem.n > 1]
    if not both:
        return
    prompts = pb.Prompts(np.repeat(np.arange(len(both)), [problem.n for problem in both]))
    start, share = prompts.start.tolist(), normalise([rho, Fraction(1)][: len(both)])
    exact = prompts_loss(share, *zip(*((x.q, luce(x.p), x.k, x.h, x.pi) for x in both), strict=True))
    listed = [(k + a, k + b, float(r * x.q[a][b])) for k, r, x in zip(start, share, both, strict=False)
              for a in range(x.n) for b in range(x.n)]  # fmt: skip
    a, b, weight = map(np.array, zip(*listed, strict=True))
    p, pi = (pb.ConditionalDistribution(np.log(floats([v for x in both for v in values(x)])), prompts)
             for values in (lambda x: x.p, lambda x: x.pi))  # fmt: skip
    omega = process([v for x in both for v in x.k], [v for x in both for v in x.h]).utility(pi.log_pmf)
    found = pb.expected_kl(pb.Annotator(p, pb.luce()), omega, pb.PairListProposal(a, b, weight)).value
    assert found == pytest.approx(float(exact), **LOSS)


@given(problem=problems())
def test_comparison_graph(problem):
    """`path`, `connected`: outcomes joined by a path are those of one component."""
    found = pb.comparison_components(pb.JointProposal(floats(problem.q)), problem.n)
    joined = paths(problem.q)
    assert joined == {(a, b) for a in range(problem.n) for b in range(problem.n) if found[a] == found[b]}
    assert (len(joined) == problem.n**2) == (max(found) == 0)


@given(problem=problems(), k=whole, constant=small)
def test_closed_forms(problem, k, constant):
    """`policy_13`, `policy_16`, `policy_18` for β = 1/k, α = k; `rlhf_is_dpo` exactly."""
    p, pi_pre = problem.p, problem.pi_pre
    annotator, reference, preferred = luce_annotator(p), from_fractions(pi_pre), from_fractions(p)
    rewards = np.log(floats(problem.w)) / k
    np.testing.assert_allclose(pb.tilt(reference, rewards, 1 / k).pmf, floats(policy_13(problem.w, pi_pre)), **CLOSE)
    exact = floats(policy_16(k, pi_pre, p))
    np.testing.assert_allclose(pb.product_of_experts(reference, preferred, 1 / k).pmf, exact, **CLOSE)
    np.testing.assert_allclose(pb.optimal_policy(annotator, pb.dpo(1 / k, reference)).pmf, exact, **CLOSE)
    exact = floats(policy_18(k, pi_pre, p))
    np.testing.assert_allclose(pb.geometric_mean(preferred, reference, float(k)).pmf, exact, **CLOSE)
    np.testing.assert_allclose(pb.optimal_policy(annotator, pb.geometric_average(k, reference)).pmf, exact, **CLOSE)
    # e^r = c·p*, so r = β log w with w = (c·p*)^k.
    assert policy_13([(constant * x) ** k for x in p], pi_pre) == policy_16(k, pi_pre, p)


@given(data=st.data(), c=small)
def test_general_optimum(data, c):
    """`policy_at`: where Σ exp((χ − g + C)/f) = 1 holds exactly, C and the policy are the package's, and the policy's
    own preferences are the annotator's, exactly.
    """
    n = data.draw(st.integers(1, 4))
    roots = data.draw(weights(n - 1, st.fractions(Fraction(1, 20), Fraction(1, 4), max_denominator=20)))
    k = [*data.draw(weights(n - 1, whole)), 1]
    roots.append(1 - sum(t**e for t, e in zip(roots, k, strict=False)))
    h = data.draw(weights(n))
    w = [hx * t / c for hx, t in zip(h, roots, strict=True)]
    policy = policy_at(w, k, h, c)
    assert sum(policy) == 1
    # f = 1/k: π^f = root, so Ω_π = log(root · h).
    assert preference([t * hx for t, hx in zip(roots, h, strict=True)]) == preference(w)
    chi, model = np.log(floats(w)), process([1 / e for e in k], h)
    # The rounding of χ and g, of size up to 6, and of the sum.
    assert pb.normalizing_constant(chi, model).value == pytest.approx(math.log(c), abs=2e-14)
    # The same, multiplied by 1/f, at most three.
    np.testing.assert_allclose(np.exp(pb.normalized_log_policy(chi, model)), floats(policy), rtol=1e-13)


@given(problem=problems(), beta=small)
def test_kl_control(problem, beta):
    """`kl_control`, `kl_divergence`: the package's objective; `equation_12_is_kl` to 45 digits."""
    pi, pi_pre, r = problem.pi, problem.pi_pre, problem.w
    exact = kl_control(beta, r, pi_pre, pi)
    found = pb.kl_controlled_objective(from_fractions(pi), floats(r), float(beta), from_fractions(pi_pre))
    assert found == pytest.approx(float(exact), **LOSS)
    tilted = [real(a) * mpmath.exp(real(b / beta)) for a, b in zip(pi_pre, r, strict=True)]
    gap = kl_divergence([*map(real, pi)], normalise(tilted))
    assert mpmath.almosteq(exact, real(beta) * (mpmath.log(sum(tilted)) - gap), abs_eps=1e-45)


@given(problem=problems(), t=st.fractions(0, 1, max_denominator=6))
def test_pools_and_psi(problem, t):
    """`annotator_mixture`, whose winners are the mixture of the winners, exactly; `expected_reward`; `logit`, with
    which `policy_ipo` is `policy_16`.
    """
    first, second, q = luce(problem.p), problem.P, problem.q
    exact = annotator_mixture(t, first, second)
    annotators = [luce_annotator(problem.p), pb.PreferenceMatrix(floats(second))]
    found = pb.AnnotatorMixture(floats([1 - t, t]), annotators).preference_probabilities()
    np.testing.assert_allclose(found, floats(exact), rtol=2e-14, atol=1e-15)
    assert winners(q, exact) == between(t, winners(q, first), winners(q, second))
    reward = expected_reward(problem.w, problem.pi)
    assert from_fractions(problem.pi).expectation(floats(problem.w)) == pytest.approx(float(reward), rel=1e-13)
    odds = [[logit(x) for x in row] for row in first]
    tilted = policy_ipo(1, [*map(real, problem.mu)], odds, problem.pi_pre)
    np.testing.assert_allclose(floats(tilted), floats(policy_16(1, problem.pi_pre, problem.p)), rtol=1e-14)


@given(problem=problems())
def test_barker(problem):
    """`barker` has [from, to] and asks for the transposed preference. Rows sum to one, the chain is
    in detailed balance, and p* is stationary, all exactly.
    """
    n, kernel, p = problem.n, problem.kernel, problem.p
    for annotator, matrix in both_kinds(problem):
        exact = barker(kernel, matrix)
        assert [sum(row) for row in exact] == [1] * n
        # The diagonal is one minus a sum: absolute rounding.
        found = pb.barker_transition_matrix(annotator, floats(kernel))
        np.testing.assert_allclose(found, floats(exact), rtol=2e-14, atol=1e-15)
    exact = barker(kernel, luce(p))
    flow = [[p[a] * exact[a][b] for b in range(n)] for a in range(n)]
    assert flow == [list(column) for column in zip(*flow, strict=True)]
    assert [sum(column) for column in zip(*flow, strict=True)] == p


@given(problem=problems())
def test_winners(problem):
    """`winners`, which sum to one exactly, for any preferences."""
    for annotator, matrix in both_kinds(problem):
        exact = winners(problem.q, matrix)
        assert sum(exact) == 1
        found = pb.winners_distribution(annotator, pb.JointProposal(floats(problem.q)))
        np.testing.assert_allclose(found.pmf, floats(exact), **CLOSE)


@given(problem=problems(), tau=small)
def test_ipo_loss(problem, tau):
    """`ipo_loss`: the package's expected loss; the completed square of `ipo_completed_square`, exactly; and the part of
    Eq. (22) that a policy changes is that of Eq. (12).
    """
    mu, p, s, n = problem.mu, problem.P, problem.w, problem.n
    annotator, proposal = pb.PreferenceMatrix(floats(p)), pb.ProductProposal(floats(mu))
    exact = ipo_loss(tau, mu, p, s)
    found = pb.expected_loss("ipo", annotator, floats(s), proposal, tau=float(tau)).value
    assert found == pytest.approx(float(exact), rel=1e-13)  # a sum of squares
    t = ipo_score(tau, mu, p)
    square = sum_(n, lambda a: sum_(n, lambda b: mu[a] * mu[b] * ((s[a] - s[b]) - (t[a] - t[b])) ** 2))
    assert exact == ipo_loss(tau, mu, p, t) + square
    eq_22 = psi_po_identity(tau, mu, p, problem.pi_pre, problem.pi)
    eq_12 = kl_control(tau, expected_preference(mu, p), problem.pi_pre, problem.pi)
    assert mpmath.almosteq(eq_22, eq_12, abs_eps=1e-45)
    best = policy_ipo(tau, mu, p, problem.pi_pre)
    least = ipo_policy_loss(tau, mu, p, problem.pi_pre, best)
    assert mpmath.almosteq(least, real(ipo_loss(tau, mu, p, t)), rel_eps=1e-40)
    assert least <= ipo_policy_loss(tau, mu, p, problem.pi_pre, problem.pi) * (1 + mpmath.mpf(10) ** -40)


@given(problem=problems(), tau=small)
def test_ipo_closed_form(problem, tau):
    """`policy_ipo`."""
    exact = policy_ipo(tau, problem.mu, problem.P, problem.pi_pre)
    found = pb.ipo_closed_form(
        pb.PreferenceMatrix(floats(problem.P)),
        from_fractions(problem.mu),
        tau=float(tau),
        reference=from_fractions(problem.pi_pre),
    )
    np.testing.assert_allclose(found.pmf, floats(exact), **CLOSE)


@given(a=small, b=small, t=st.fractions(0, 1, max_denominator=6))
def test_softplus(a, b, t):
    """`kl_is_softplus_gap` and `softplus_convex` to 45 digits; `sigma` at a logarithm is rational."""
    gap = softplus(real(b)) - softplus(real(a)) - sigma(real(a)) * real(b - a)
    assert mpmath.almosteq(kl(sigma(real(a)), sigma(real(b))), gap, abs_eps=1e-45)
    (middle,) = between(t, [a], [b])
    chord = real(1 - t) * softplus(real(a)) + real(t) * softplus(real(b))
    assert softplus(real(middle)) <= chord + mpmath.mpf(10) ** -45
    assert mpmath.almosteq(sigma(ln(a)), real(sigma_log(a)), abs_eps=1e-45)


def test_counter_example_to_mixed_signs():
    """`theorem_2_needs_one_sign`: f = (1, −1); p* = (0.3, 0.7) and (0.7, 0.3) have one preference matrix."""
    f, one = [1, -1], [Fraction(1)] * 2
    p = [Fraction(3, 10), Fraction(7, 10)]
    assert pbde_log(f, one, p) == [Fraction(3, 10), Fraction(10, 7)]
    assert preference(pbde_log(f, one, p)) == preference(pbde_log(f, one, p[::-1]))
    assert pbde_log(f, one, p)[0] / pbde_log(f, one, p)[1] == Fraction(21, 100)


# --- Controls ---


def test_wrong_conventions_would_show():
    """Control: the transposed preference, the diagonal counted once, another exponent: no matter of rounding."""
    p, q = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)], [[Fraction(1, 9)] * 3] * 3
    transposed = [list(column) for column in zip(*luce(p), strict=True)]
    rows = [[3 * x for x in row] for row in q]
    assert abs(barker(rows, transposed)[0][1] - barker(rows, luce(p))[0][1]) > Fraction(1, 20)
    once = [w - q[x][x] * HALF for x, w in enumerate(winners(q, luce(p)))]
    assert sum(once) == Fraction(5, 6)
    assert policy_16(2, p, p[::-1]) != policy_16(1, p, p[::-1]) != policy_18(2, p, p[::-1])
