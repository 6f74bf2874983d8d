"""The paper's text in `paper.py`: by hand and in fractions, and then everything that people call held against it."""

import ast
import inspect
import itertools
import math
import re
from fractions import Fraction
from pathlib import Path

import autograd
import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from pbde_ref import losses, paper
from pbde_ref.exact.mixtures import expected_mixture_loss
from pbde_ref.exact.policy_optimization import kl_controlled_objective, policy_gradient

F = Fraction
PACKAGE = Path(pb.__file__).parent
SOURCE = Path(paper.__file__).read_text(encoding="utf-8")
EQUATIONS = [name for name in vars(paper) if name.startswith("equation_")]


# --- The file itself ---


def test_there_is_one_function_for_each_equation_and_the_text_follows_the_paper():
    assert sorted(EQUATIONS, key=lambda name: int(name.split("_")[1])) == [f"equation_{i}" for i in range(1, 31)]
    assert [f"equation_{i}" for i in range(1, 31)] == EQUATIONS
    assert all(inspect.getdoc(function) for name, function in vars(paper).items() if inspect.isfunction(function))


def test_it_imports_nothing_but_math():
    imports = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import math"]


REFEREES = ("verification", "vectors", "benchmarking")


def importers_of_the_paper(sources):
    pattern = re.compile(r"from pbde_ref\.paper import|import pbde_ref\.paper\b|from pbde_ref import [^\n]*\bpaper\b")
    return [name for name, text in sources.items() if pattern.search(text)]


def test_nobody_computes_with_it():
    """Only referees import it: verification, the vectors' generator and the benchmarks' literal contender."""
    sources = {str(p.relative_to(PACKAGE).as_posix()): p.read_text(encoding="utf-8") for p in PACKAGE.rglob("*.py")}
    assert [name for name in importers_of_the_paper(sources) if not name.startswith(REFEREES)] == []
    control = {"exact/optima.py": "from pbde_ref.paper import equation_16", "cli/x.py": "from pbde_ref import paper"}
    assert importers_of_the_paper(control) == list(control)


# --- By hand, in fractions ---


class Powers:
    """Arithmetic in which the logarithm of 2^k is k: enough to do by hand, in fractions, what needs logarithms."""

    @staticmethod
    def log(x):
        x, k = F(x), 0
        while x > 1:
            x, k = x / 2, k + 1
        while x < 1:
            x, k = x * 2, k - 1
        assert x == 1, "not a power of two"
        return F(k)

    @staticmethod
    def exp(k):
        assert F(k).denominator == 1
        return F(2) ** int(k)


P = [F(1, 2), F(1, 4), F(1, 4)]
PRE = [F(1, 4), F(1, 4), F(1, 2)]
Q = [[0, F(1, 2), 0], [F(1, 4), 0, 0], [0, 0, F(1, 4)]]


def luce(p):
    return lambda A, B: paper.equation_9(p, A, B)


def test_luce_rule_and_data_in_fractions():
    """Eq. (9): 1/2 : 1/4 is 2 : 1. Eq. (6): the pair (1, 2) is not drawn, an outcome against itself is a coin."""
    assert paper.equation_9(P, 0, 1) == F(2, 3)
    assert paper.equation_6(Q, luce(P)) == [
        (0, 1, 1, F(1, 3)), (0, 1, 0, F(1, 6)), (1, 0, 1, F(1, 12)), (1, 0, 0, F(1, 6)),
        (2, 2, 1, F(1, 8)), (2, 2, 0, F(1, 8)),
    ]  # fmt: skip


def test_certain_answers_have_no_other_answer():
    assert paper.equation_6([[0, 1], [0, 0]], luce([1, 0])) == [(0, 1, 1, 1)]
    assert paper.equation_7([[0, 1], [0, 0]], luce([1, 0]), lambda A, B: F(1, 4), Powers) == 2
    assert paper.equation_8([[0, 1], [0, 0]], luce([1, 0]), lambda A, B: F(1, 4), Powers) == 2


def test_cross_entropy_and_kl_in_powers_of_two():
    """A coin against a coin costs one bit, in Eq. (7), and is no divergence, in Eq. (8); 1/8 for what was seen: 3."""
    coin = lambda A, B: F(1, 2)  # noqa: E731
    one_pair = [[0, 1], [0, 0]]
    assert paper.equation_7(one_pair, coin, coin, Powers) == 1
    assert paper.equation_8(one_pair, coin, coin, Powers) == 0
    assert paper.equation_1([(0, 1, 1, F(1, 3)), (0, 1, 0, F(2, 3))], coin, Powers) == 1
    assert paper.equation_1([(0, 1, 1, 1)], lambda A, B: F(1, 8), Powers) == 3
    assert paper.equation_1([(0, 1, 0, 1)], lambda A, B: F(7, 8), Powers) == 3


def test_bradley_terry_and_dpo_in_powers_of_two():
    """With base 2 for e: rewards 2 apart give 4 : 1; DPO with beta = 2 and ratios 2 and 1 gives 4 : 1 too."""
    assert paper.equation_2([F(3), F(1)], 0, 1, Powers) == F(4, 5)
    assert paper.equation_14([F(1, 2), F(1, 4)], [F(1, 4), F(1, 4)], 2, 0, 1, Powers) == F(4, 5)
    assert paper.equation_15([F(1, 2), F(1, 4)], [F(1, 4), F(1, 4)], 2, 0, Powers) == 2
    assert paper.equation_11([F(1, 2), F(1, 4)], [2, 1], [1, 0], 0, 1, Powers) == F(2, 3)  # -1 against -2


def test_rewards_and_policies_in_fractions():
    """Eq. (3): 1/2·4 + 1/4·0 + 1/4·8 = 4; Eq. (12) takes KL(P || PRE) = 1/2·1 + 0 − 1/4·1 = 1/4 off, times beta = 4."""
    assert paper.equation_3(P, [4, 0, 8]) == 4
    assert paper.equation_12(P, PRE, [4, 0, 8], 4, Powers) == 3
    # Softmax logits of outcome 0 alone: d log π(x)/dθ = [x = 0] − 1/2; 1/2·4·1/2 + 1/4·8·(−1/2) = 0.
    assert paper.equation_4(P, [4, 0, 8], [[F(1, 2)], [-F(1, 2)], [-F(1, 2)]]) == [0]
    # KL control turns the rewards into 4 − 4·1, 0 and 8 + 4·1: 0 + 0 − 1/4·12/2.
    assert paper.equation_5(P, PRE, [4, 0, 8], 4, [[F(1, 2)], [-F(1, 2)], [-F(1, 2)]], Powers) == [-F(3, 2)]


def test_optimal_policies_in_powers_of_two():
    assert paper.equation_13(PRE, [4, 0, 2], 2, Powers) == [F(4, 9), F(1, 9), F(4, 9)]  # 1/4·4 : 1/4 : 1/2·2
    assert paper.equation_16(PRE, [F(1, 2), F(1, 8), F(1, 8)], 1, Powers) == [F(4, 7), F(1, 7), F(2, 7)]
    assert paper.equation_16([F(1, 2), F(1, 2)], [F(1, 4), F(1, 16)], 2, Powers) == [F(2, 3), F(1, 3)]
    assert paper.equation_17([0, 1, 1], Powers) == P
    # sqrt(π p): sqrt(1/4·1/4) : sqrt(1/16·1/4) = 1/4 : 1/8
    assert paper.equation_18([F(1, 4), F(1, 16)], [F(1, 4), F(1, 4)], F(1, 2), Powers) == [F(2, 3), F(1, 3)]


def test_alternatives_in_powers_of_two():
    """log2 P = (−1, −2, −2), log2 PRE = (−2, −2, −1)."""
    ranking = [((0, 1, 2), F(1, 2)), ((2, 0, 1), F(1, 2))]
    # With lengths (1, 2, 1) the scores are (−1, −1, −2): the second ranking puts −2 before −1 twice.
    assert paper.equation_19(ranking, P, [1, 2, 1], Powers) == 1
    assert paper.best_likelihood(ranking, P, Powers) == F(3, 2)
    D = [(0, 1, 1, F(1, 2)), (0, 2, 0, F(1, 2))]
    # Margins 1 and −1 at δ = 2: 1/2·1 + 1/2·3; λ = 4 times E_PRE[log P] = −7/4.
    assert paper.equation_20(D, PRE, P, 2, 4, Powers) == 2 + 7
    # Log-ratios log2(P/PRE) = (1, 0, −1): margins 1 and −2, δ = 1: 0 and 3.
    assert paper.equation_21(D, P, PRE, 1, Powers) == F(3, 2)
    # 1/(2τ) = 1 at τ = 1/2: (1 − 1)² and (−2 − 1)².
    assert paper.equation_23(D, P, PRE, F(1, 2), Powers) == F(9, 2)
    # E p*(A ≻ B) under a certain order 0 ≻ 1 ≻ 2, ties even, A from P and B from PRE.
    order = lambda A, B: F(1, 2) if A == B else F(int(A < B))  # noqa: E731
    wins = F(1, 2) * (F(1, 8) + F(3, 4)) + F(1, 4) * (F(1, 8) + F(1, 2)) + F(1, 4) * F(1, 4)
    assert paper.equation_22(P, PRE, order, PRE, 4, Powers) == wins - 4 * F(1, 4)


def test_annotators_in_fractions():
    """w = (2/5, 3/5); annotator 1 prefers 0 with 3/4, annotator 2 with 1/4."""
    w, p = [F(2, 5), F(3, 5)], [[F(3, 4), F(1, 4)], [F(1, 4), F(3, 4)]]
    assert paper.equation_24(w, p, 0, 1) == F(9, 20)
    assert paper.equation_25(w, p, 0, 1) == F(9, 20)
    p = [[F(3, 4), F(1, 4), 0], [F(1, 8), F(3, 8), F(1, 2)]]
    assert paper.equation_24(w, p, 0, 1) == F(15, 28)  # 3/10 + 3/40 against 1/10 + 9/40
    assert paper.equation_25(w, p, 0, 1) == F(9, 20)


def test_lengths_in_powers_of_two():
    """log2 p / |x| = −1 against −2."""
    assert paper.equation_26([F(1, 2), F(1, 16)], [1, 2], 0, 1, Powers) == F(2, 3)
    short, long = [F(1, 2), F(1, 16)], [F(1, 4), F(1, 4)]
    assert paper.equation_27(short, long, [1, 2], 0, 1, Powers) == (F(2, 3) + F(1, 3)) / 2
    # The mixture of (1/4, 1/16) and (1/4, 3/16) is (1/4, 1/8).
    mixed = paper.equation_28([F(1, 4), F(1, 16)], [F(1, 4), F(3, 16)], [1, 3], 0, 1, Powers)
    assert mixed == F(1, 3)  # −2 against −1


def test_two_models_in_fractions():
    w, models = [F(2), F(3)], [[F(3, 4), F(1, 4)], [F(1, 8), F(3, 8)]]
    assert paper.equation_29(w, models, 0) == F(2, 5) * F(3, 4) + F(3, 5) * F(1, 8)
    assert paper.equation_30(w, models, 0, 1) == F(2, 5) * F(3, 4) + F(3, 5) * F(1, 4)


def test_the_papers_problem_by_hand():
    """On (−2.5, 2.5): the left normal weighs e^0 : e^−200, the right one e^−12.5 : e^0."""
    left, right = paper.equation_10([-2.5, 2.5])
    assert left == pytest.approx(0.4 + 0.6 * math.exp(-12.5) / (1 + math.exp(-12.5)), rel=1e-14)
    assert left + right == pytest.approx(1.0, rel=1e-15)
    grid = np.linspace(-10.0, 10.0, 101)
    assert np.allclose(paper.equation_10(grid), pb.paper_problem(101).implicit_preference_distribution.pmf, rtol=1e-12)


# --- What the theorems claim ---


@st.composite
def small_problems(draw, scale=2.0):
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n = draw(st.integers(2, 5))
    q = rng.exponential(size=(n, n))
    return rng, n, q / q.sum(), pb.FiniteDistribution(scale * rng.normal(size=n))


@given(problem=small_problems(), constant=st.floats(-3, 3))
def test_lemma_1_and_the_theorems_to_fifty_digits(problem, constant):
    """χ = ω + C, exp(r) ∝ p* and π = p* have loss 0 to fifty digits; anything else has a positive loss."""
    rng, n, q, p = problem
    with mpmath.workdps(50):
        exact = lambda values: [mpmath.mpf(float(v)) for v in values]  # noqa: E731
        chi, g, other = (exact(rng.normal(size=n)) for _ in range(3))
        f, p_star = exact(rng.uniform(0.5, 2.0, n)), paper.normalized(exact(p.pmf))
        rows = [exact(row) for row in q]
        wrong = paper.normalized([x * (2 if i == 0 else 1) for i, x in enumerate(p_star)])
        log_p = [mpmath.log(x) for x in p_star]
        right = (
            paper.lemma_1(rows, chi, [x + constant for x in chi], mpmath),
            paper.theorem_1(rows, p_star, [x + constant for x in log_p], mpmath),
            paper.theorem_2(rows, p_star, p_star, f, g, mpmath),
        )
        assert all(abs(loss) < mpmath.mpf(10) ** -47 for loss in right)
        assert paper.lemma_1(rows, chi, [x + y for x, y in zip(chi, other, strict=True)], mpmath) > 1e-30
        assert paper.theorem_1(rows, p_star, [2 * x for x in log_p], mpmath) > 1e-30 or max(log_p) - min(log_p) < 1e-9
        assert paper.theorem_2(rows, p_star, wrong, f, g, mpmath) > 1e-30


# --- What people call, held against it ---


@given(problem=small_problems())
def test_expected_losses_are_those_of_the_paper(problem):
    """Eq. (7), (8), the gradient of both by autograd, and Eq. (20), (21), (23) in expectation."""
    rng, n, q, p = problem
    omega, annotator, proposal = rng.normal(size=n), pb.Annotator(p, pb.luce()), pb.JointProposal(q)
    star = luce(p.pmf)

    def model(r, arithmetic=math):
        return lambda A, B: paper.equation_2(r, A, B, arithmetic)

    assert pb.expected_cross_entropy(annotator, omega, proposal).value == pytest.approx(
        paper.equation_7(q, star, model(omega)), rel=1e-12
    )
    kl = pb.expected_kl(annotator, omega, proposal)
    assert kl.value == pytest.approx(paper.equation_8(q, star, model(omega)), rel=1e-12, abs=1e-15)
    for equation in (paper.equation_7, paper.equation_8):
        gradient = autograd.grad(lambda r, eq=equation: eq(q, star, model(r, anp), anp))(omega)
        assert np.allclose(kl.gradient, gradient, rtol=0, atol=1e-13)

    policy, reference = (pb.FiniteDistribution(rng.normal(size=n)) for _ in range(2))
    D, ratio = paper.equation_6(q, star), policy.log_pmf - reference.log_pmf
    slic = pb.expected_slic(annotator, policy.log_pmf, proposal, delta=0.7, lambda_=0.3, reference=reference)
    assert slic.value == pytest.approx(paper.equation_20(D, reference.pmf, policy.pmf, 0.7, 0.3), rel=1e-12)
    rso = pb.expected_loss(pb.hinge(0.7), annotator, ratio, proposal)
    assert rso.value == pytest.approx(paper.equation_21(D, policy.pmf, reference.pmf, 0.7), rel=1e-12)
    ipo = pb.expected_loss(pb.ipo(0.7), annotator, ratio, proposal)
    assert ipo.value == pytest.approx(paper.equation_23(D, policy.pmf, reference.pmf, 0.7), rel=1e-12)
    rankings = [((A, B) if y else (B, A), weight) for A, B, y, weight in D]
    lengths = rng.integers(1, 5, n).astype(float)
    rrhf = pb.expected_rrhf(annotator, policy.log_pmf, proposal, lengths=lengths, likelihood_weight=0.3)
    literal = paper.equation_19(rankings, policy.pmf, lengths) + 0.3 * paper.best_likelihood(rankings, policy.pmf)
    assert rrhf.value == pytest.approx(literal, rel=1e-12)


@given(problem=small_problems())
def test_closed_forms_are_those_of_the_paper(problem):
    """Eq. (13), (16), (18) and the tilts, objectives and gradients of (5), (12), (22)."""
    rng, n, _, p = problem
    reference, policy, r = pb.FiniteDistribution(rng.normal(size=n)), rng.normal(size=n), rng.normal(size=n)
    beta, alpha = rng.uniform(0.3, 4.0), rng.uniform(0.1, 0.9)
    same = dict(rtol=1e-12, atol=0)
    assert np.allclose(pb.tilt(reference, r, beta).pmf, paper.equation_13(reference.pmf, r, beta), **same)
    product = pb.product_of_experts(reference, p, beta)
    assert np.allclose(product.pmf, paper.equation_16(reference.pmf, p.pmf, beta), **same)
    optimum = pb.optimal_policy(pb.Annotator(p, pb.luce()), pb.dpo(beta, reference))
    assert np.allclose(optimum.pmf, paper.equation_16(reference.pmf, p.pmf, beta), **same)
    mean = pb.geometric_mean(p, reference, alpha)
    assert np.allclose(mean.pmf, paper.equation_18(reference.pmf, p.pmf, alpha), **same)
    pi = pb.FiniteDistribution(policy)
    objective = kl_controlled_objective(pi, r, beta, reference)
    assert objective == pytest.approx(paper.equation_12(pi.pmf, reference.pmf, r, beta), rel=1e-11, abs=1e-13)
    slopes = [[float(i == x) - pi.pmf[i] for i in range(n)] for x in range(n)]
    gradient = paper.equation_5(pi.pmf, reference.pmf, r, beta, slopes)
    assert np.allclose(policy_gradient(policy, r, beta, reference), gradient, rtol=0, atol=1e-13)
    mu, annotator = pb.FiniteDistribution(rng.normal(size=n)), pb.Annotator(p, pb.luce())
    ours = pb.identity_preference_objective(pi, annotator, mu, tau=beta, reference=reference)
    literal = paper.equation_22(pi.pmf, mu.pmf, luce(p.pmf), reference.pmf, beta)
    assert ours == pytest.approx(literal, rel=1e-11, abs=1e-13)


@given(problem=small_problems())
def test_preference_probabilities_are_those_of_the_paper(problem):
    """Eq. (9), (11), (14), (24) to (28) and (30) for all pairs."""
    rng, n, q, p = problem
    other, reference = (pb.FiniteDistribution(rng.normal(size=n)) for _ in range(2))
    f, g, lengths = rng.uniform(0.5, 2.0, n), rng.normal(size=n), rng.integers(1, 9, n).astype(float)
    w = rng.uniform(0.2, 0.8, 2)
    w /= w.sum()

    def annotator(distribution, process):
        return pb.Annotator(distribution, process)

    both, half = [annotator(x, pb.luce()) for x in (p, other)], [0.5, 0.5]
    per_length = pb.length_normalized(lengths)
    densities = [p.pmf, other.pmf]
    cases = {
        "9": (annotator(p, pb.luce()), lambda A, B: paper.equation_9(p.pmf, A, B)),
        "11": (annotator(p, pb.PBDE(f, g)), lambda A, B: paper.equation_11(p.pmf, f, g, A, B)),
        "14": (
            annotator(p, pb.dpo(0.7, reference)),
            lambda A, B: paper.equation_14(p.pmf, reference.pmf, 0.7, A, B),
        ),
        "24": (annotator(pb.mixture(w, [p, other]), pb.luce()), lambda A, B: paper.equation_24(w, densities, A, B)),
        "25": (pb.AnnotatorMixture(w, both), lambda A, B: paper.equation_25(w, densities, A, B)),
        "26": (annotator(p, per_length), lambda A, B: paper.equation_26(p.pmf, lengths, A, B)),
        "27": (
            pb.AnnotatorMixture(half, [annotator(x, per_length) for x in (p, other)]),
            lambda A, B: paper.equation_27(p.pmf, other.pmf, lengths, A, B),
        ),
        "28": (
            annotator(pb.mixture(half, [p, other]), per_length),
            lambda A, B: paper.equation_28(p.pmf, other.pmf, lengths, A, B),
        ),
        "30": (pb.AnnotatorMixture(w, both), lambda A, B: paper.equation_30(7 * w, densities, A, B)),
    }
    for number, (ours, literal) in cases.items():
        found = ours.preference_probabilities()
        for A, B in itertools.product(range(n), repeat=2):
            assert found[A, B] == pytest.approx(literal(A, B), rel=1e-12), f"Eq. ({number})"
    mixed = expected_mixture_loss(both[0], 3 * w, [p.log_pmf, other.log_pmf], pb.JointProposal(q))
    loss = paper.equation_7(q, luce(p.pmf), lambda A, B: paper.equation_30(w, densities, A, B))
    assert mixed.cross_entropy == pytest.approx(loss, rel=1e-12)
    marginal = pb.mixture(w, [p, other]).pmf
    assert np.allclose([paper.equation_29(w, densities, x) for x in range(n)], marginal, rtol=1e-12)


@given(problem=small_problems())
def test_batch_losses_are_those_of_the_paper(problem):
    """Each batch loss is its equation on the batch's own D, values and gradients (by autograd through the text)."""
    rng, n, _, _ = problem
    log_pi, log_pre = rng.uniform(-6.0, -0.5, n), rng.uniform(-6.0, -0.5, n)
    lengths = rng.integers(1, 9, n).astype(float)
    pairs = [(int(a), int(b)) for a, b in (rng.choice(n, 2, replace=False) for _ in range(4))]
    D = [(A, B, 1, 1 / len(pairs)) for A, B in pairs]
    won, lost = (np.array(side) for side in zip(*pairs, strict=True))

    def cross_entropy(probability):
        return lambda pi: paper.equation_1(D, lambda A, B: probability(pi, A, B), anp)

    pre = np.exp(log_pre)
    four = log_pi[won], log_pi[lost], log_pre[won], log_pre[lost]
    cases = {
        "dpo": (
            losses.dpo_loss(*four, beta=0.7),
            cross_entropy(lambda pi, A, B: paper.equation_14(pi, pre, 0.7, A, B, anp)),
        ),
        "length_normalized": (
            losses.length_normalized_loss(log_pi[won], log_pi[lost], lengths[won], lengths[lost]),
            cross_entropy(lambda pi, A, B: paper.equation_26(pi, lengths, A, B, anp)),
        ),
        "slic": (
            losses.slic_loss(log_pi[won], log_pi[lost], delta=0.7, lambda_=0.0),
            lambda pi: paper.equation_20(D, [], pi, 0.7, 0.0, anp),
        ),
        "rso": (losses.rso_loss(*four, delta=0.7), lambda pi: paper.equation_21(D, pi, pre, 0.7, anp)),
        "ipo": (losses.ipo_loss(*four, tau=0.7), lambda pi: paper.equation_23(D, pi, pre, 0.7, anp)),
    }
    for name, (ours, literal) in cases.items():
        assert ours.value == pytest.approx(float(literal(np.exp(log_pi))), rel=1e-11, abs=1e-13), name
        expected = autograd.grad(lambda lp, literal=literal: literal(anp.exp(lp)))(log_pi)
        gradient = np.zeros(n)
        np.add.at(gradient, won, ours.gradients["policy_chosen"])
        np.add.at(gradient, lost, ours.gradients["policy_rejected"])
        assert np.allclose(gradient, expected, rtol=0, atol=1e-12), name


def test_printed_signs_would_not_do():
    """Control: with the brackets of the machine-read text Eq. (19) falls as a right margin grows, and δ of Eq. (20)
    moves the loss by a constant only.
    """
    near, far = [0.6, 0.4], [0.9, 0.1]
    ranking = [((0, 1), 1.0)]
    printed = lambda pi: -max(math.log(pi[0]) - math.log(pi[1]), 0.0)  # noqa: E731
    assert paper.equation_19(ranking, near, [1, 1]) == paper.equation_19(ranking, far, [1, 1]) == 0.0
    assert printed(far) < printed(near) < 0.0
    D = [(0, 1, 1, 1.0)]
    moved = [paper.equation_20(D, [], pi, 1.0, 0.0) - paper.equation_20(D, [], pi, 0.2, 0.0) for pi in (near, far)]
    assert moved[0] != pytest.approx(moved[1])
