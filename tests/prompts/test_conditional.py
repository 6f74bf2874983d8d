"""Answers to prompts: the unconditional theory prompt by prompt, and where it is not (proofs/prompts.md)."""

from fractions import Fraction
from inspect import Parameter

import numpy as np
import pytest
from scipy.special import logsumexp

import pbde_ref as pb
from pbde_ref.catalogue.losses import LOSSES, optimum_parameters
from pbde_ref.exact.mixtures import expected_mixture_hessian
from pbde_ref.exact.results import NoMinimumError
from pbde_ref.pairs import PairBlock
from pbde_ref.prompts.pairs import pairs_of
from tests.refusals import pattern
from tests.seeds import drawn_seed

PROMPTS = pb.Prompts("aabbb")
P_STAR = pb.ConditionalDistribution(np.log([1, 3, 1, 1, 2]), PROMPTS)
REFERENCE = pb.ConditionalDistribution(np.log([1, 1, 3, 1, 2]), PROMPTS)


def drawn(seed, f=None):
    """Ragged prompts, p*, a reference, a process of the annotator and one of the model."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 7, rng.integers(1, 6))
    prompts = pb.Prompts(np.repeat(np.arange(sizes.size), sizes))
    n = prompts.size
    p, reference = (pb.ConditionalDistribution(rng.normal(0, 2, n), prompts) for _ in range(2))
    processes = [pb.PBDE(rng.uniform(0.3, 3.0, n) if f is None else f, rng.normal(0, 2, n)) for _ in range(2)]
    return rng, prompts, p, reference, processes


def parts(prompts):
    return [slice(int(a), int(b)) for a, b in zip(prompts.start, prompts.start[1:], strict=False)]


def alone(p, part):
    return pb.FiniteDistribution(p.log_pmf[part])


def sliced(process, part):
    return pb.PBDE(*(value[part] if value.ndim else value for value in (process.f, process.g)))


@pytest.mark.parametrize(
    ("found", "weights"),
    [
        # Eq. (16), β = 1/2: squares; Eq. (18), α = 2: p² over the reference; Eq. (13), β = 2: e^{r/2}.
        (pb.optimal_policy(pb.Annotator(P_STAR, pb.luce()), pb.dpo(0.5, REFERENCE)), [1, 9, 3, 1, 8]),
        (pb.product_of_experts(REFERENCE, P_STAR, 0.5), [1, 9, 3, 1, 8]),
        (pb.geometric_mean(P_STAR, REFERENCE, 2.0), [1, 9, Fraction(1, 3), 1, 2]),
        (pb.tilt(REFERENCE, 2 * np.log([1, 2, 3, 4, 5]), 2.0), [1, 2, 9, 4, 10]),
        # A third and two thirds: (1/4 + 2/2) / 3 is 5/12, (1/4 + 2/6) / 3 is 7/36, ...
        (pb.mixture([1, 2], [P_STAR, REFERENCE]), [5, 7, 15, 7, 14]),
    ],
)
def test_closed_forms_by_hand(found, weights):
    exact = [Fraction(w) / sum(map(Fraction, part)) for part in (weights[:2], weights[2:]) for w in part]
    assert isinstance(found, pb.ConditionalDistribution)
    np.testing.assert_allclose(found.pmf, [float(x) for x in exact], rtol=1e-14)


@pytest.mark.parametrize("draw", range(20))
def test_one_prompt_is_the_unconditional_case(draw):
    """To the last digits: policies to the last one, sums to their order."""
    rng = np.random.default_rng([drawn_seed(), draw])
    n = int(rng.integers(2, 9))
    log_p, log_r = rng.normal(0, 3, (2, n))
    process = pb.PBDE(rng.uniform(0.3, 3.0, n), rng.normal(size=n))
    prompts = pb.Prompts(["only"] * n)
    flat, grouped = pb.FiniteDistribution(log_p), pb.ConditionalDistribution(log_p, prompts)
    reference, given = pb.FiniteDistribution(log_r), pb.ConditionalDistribution(log_r, prompts)
    np.testing.assert_array_max_ulp(flat.log_pmf, grouped.log_pmf, 4)
    one, other = pb.Annotator(flat, process), pb.Annotator(grouped, process)
    for model, same in ((pb.dpo(0.7, reference), pb.dpo(0.7, given)), (process, process)):
        np.testing.assert_allclose(
            pb.optimal_policy(one, model).log_pmf, pb.optimal_policy(other, same).log_pmf, rtol=1e-13, atol=1e-15
        )
    q, pairs = pb.ProductProposal(reference, flat), pb.prompt_pairs(given, grouped)
    np.testing.assert_allclose(q.matrix(n) + q.matrix(n).T, pairs.matrix(n) + pairs.matrix(n).T, atol=1e-16)
    utilities = rng.normal(size=n)
    for loss in (pb.expected_kl, pb.expected_cross_entropy):
        first, second = loss(one, utilities, q), loss(other, utilities, pairs)
        assert first.value == pytest.approx(second.value, rel=1e-13)
        np.testing.assert_allclose(first.gradient, second.gradient, atol=1e-15)
    first, second = (pb.optimum("dpo", a, s, beta=0.7, reference=r)
                     for a, s, r in ((one, q, reference), (other, pairs, given)))  # fmt: skip
    assert first.converged
    assert second.converged
    assert first.unique
    assert second.unique
    np.testing.assert_allclose(first.policy.pmf, second.policy.pmf, rtol=1e-12)


@pytest.mark.parametrize("draw", range(30))
def test_every_prompt_by_itself(draw):
    """The optimum at a prompt is that of the prompt alone; losses are their mean under ρ, gradients their slices."""
    rng, prompts, p, reference, (process, model) = drawn([drawn_seed(), draw])
    annotator, rho = pb.Annotator(p, process), rng.dirichlet(np.ones(len(prompts.names)))
    q, utilities = pb.prompt_pairs(reference, p, prompts=rho), rng.normal(0, 2, prompts.size)
    found, loss = pb.optimal_policy(annotator, model), pb.expected_kl(annotator, utilities, q)
    total = 0.0
    for k, part in enumerate(parts(prompts)):
        single = pb.Annotator(alone(p, part), sliced(process, part))
        np.testing.assert_allclose(found.pmf[part], pb.optimal_policy(single, sliced(model, part)).pmf, rtol=1e-12)
        own = pb.expected_kl(single, utilities[part], pb.ProductProposal(alone(reference, part), alone(p, part)))
        total += rho[k] * own.value
        np.testing.assert_allclose(loss.gradient[part], rho[k] * own.gradient, atol=1e-14)
    assert loss.value == pytest.approx(total, rel=1e-12)
    assert pb.expected_kl(annotator, model.utility(found.log_pmf), q).value < 1e-26


@pytest.mark.parametrize("draw", range(8))
def test_a_projection_is_that_of_every_prompt(draw):
    """Two annotators, pooled: the certified fit at each prompt is that of the prompt alone, whatever ρ."""
    rng, prompts, p, reference, _ = drawn([drawn_seed(), draw])
    members = [pb.Annotator(x, pb.luce()) for x in (p, reference)]
    both = pb.AnnotatorMixture([1, 2], members)
    q = pb.prompt_pairs(prompts, prompts=rng.uniform(0.1, 1.0, len(prompts.names)))
    fit = pb.minimize_expected_loss("bradley_terry", both, q)
    best = pb.optimum("dpo", both, q, beta=0.5, reference=reference)
    assert fit.converged
    assert fit.unique
    assert best.converged
    assert best.policy_error < 1e-8
    assert pb.identifiability(both, q).policy_is_unique
    for part in parts(prompts):
        inside = pb.AnnotatorMixture([1, 2], [pb.Annotator(alone(m.distribution, part), pb.luce()) for m in members])
        own = pb.minimize_expected_loss("bradley_terry", inside, pb.ProductProposal(np.ones(inside.size)))
        np.testing.assert_allclose(fit.policy.pmf[part], own.policy.pmf, atol=1e-10)


def test_normalising_over_everything_is_another_model():
    """Control: with varying f the conditionals move with the prompts' masses; ρ cannot say which mass is right."""
    process = pb.PBDE([1.0, 0.5, 2.0, 1.0, 0.3])
    annotator = pb.Annotator(P_STAR, pb.luce())
    right = pb.optimal_policy(annotator, process)
    over_all = np.exp(pb.normalized_log_policy(annotator.utility, process))
    conditional = over_all / PROMPTS.sums(over_all)[PROMPTS.number]
    assert 0.5 * PROMPTS.sums(np.abs(conditional - right.pmf)).max() > 0.05
    q = pb.prompt_pairs(PROMPTS)
    assert pb.expected_kl(annotator, process.utility(np.log(over_all)), q).value < 1e-26
    assert pb.expected_kl(annotator, process.utility(np.log(conditional)), q).value > 1e-3


def test_an_open_prompt_is_named():
    annotator = pb.Annotator(P_STAR, pb.luce())
    q = pb.PairListProposal([0, 2], [1, 3])
    found = pb.optimum("dpo", annotator, q, beta=1.0, reference=REFERENCE)
    assert found.policy is None
    assert not found.converged
    assert found.reason == "comparisons fall into 3 groups: compare ('b', 2) with ('b', 4)"
    assert not pb.identifiability(annotator, q).policy_is_unique
    assert not pb.minimize_expected_loss("bradley_terry", annotator, q).unique


def test_answers_are_drawn_from_their_prompt():
    """Frequencies of 40,000 draws within five standard errors, p = 0 never; preferences by their pair."""
    rng = np.random.default_rng(drawn_seed())
    p = pb.ConditionalDistribution([0.0, np.log(3), -np.inf, 0.0, np.log(2)], PROMPTS)
    asked = rng.integers(0, 2, 40_000)
    answers = p.sample(asked, rng=rng)
    assert (PROMPTS.number[answers] == asked).all()
    for k, part in enumerate(parts(PROMPTS)):
        share = np.bincount(answers[asked == k], minlength=5)[part] / (asked == k).sum()
        error = 5 * np.sqrt(p.pmf[part] * (1 - p.pmf[part]) / (asked == k).sum())
        assert (np.abs(share - p.pmf[part]) <= error).all()
    drawn_pairs = pb.sample_comparisons(pb.Annotator(P_STAR, pb.luce()), pb.prompt_pairs(PROMPTS), 1000, rng=rng)
    assert (PROMPTS.number[drawn_pairs.x_a] == PROMPTS.number[drawn_pairs.x_b]).all()


@pytest.mark.parametrize(
    "sizes", [(4,), (4, 4, 4), (5,), (5, 5), (5, 2), (5, 4), (6, 3), (4, 3, 2), (5, 3, 2, 4), (2, 2)], ids=str
)
def test_mixtures_with_shared_weights_are_identified_by_ranks(sizes):
    """Null directions of the Hessian at the truth, beside two annotators' constants at each prompt and one of the
    softmax's. Two answers leave 2 parameters to 1 probability, three 4 to 3, four 6 to 6; so each prompt of two or
    three answers leaves one direction open, and the weights are one more unless some prompt has five.
    """
    rng = np.random.default_rng([drawn_seed(), *sizes])
    prompts = pb.Prompts(np.repeat(np.arange(len(sizes)), sizes))
    utilities = 2 * rng.standard_normal((2, prompts.size))
    both = pb.AnnotatorMixture(
        [1, 2], [pb.Annotator(pb.ConditionalDistribution(u, prompts), pb.luce()) for u in utilities]
    )
    hessian = expected_mixture_hessian(both, [1.0, 2.0], utilities, pb.prompt_pairs(prompts))
    null = int((np.linalg.eigvalsh(hessian) < 1e-10).sum()) - 2 * len(sizes) - 1
    assert null == sum(size < 4 for size in sizes) + (max(sizes) < 5)


BAD = {
    "one answer": (lambda: pb.Prompts(["a", "b", "b"]), "`prompts` must have two answers each, *; got one for 'a'"),
    "apart": (lambda: pb.Prompts("abba"), "`prompts` must stand together; got 'a' again at index 3"),
    "answer twice": (
        lambda: pb.Prompts("aabb", ["yes", "no", "yes", "maybe"]),
        "`answers` must be distinct, *; got 'yes' under 'a' and under 'b'",
    ),
    "answers": (lambda: pb.Prompts("aa", ["x"]), "`answers` must have 2 outcomes*; got 1"),
    "nothing": (lambda: pb.Prompts([]), "`prompts` must hold at least one label"),
    "mass": (
        lambda: pb.ConditionalDistribution([0, 0, -np.inf, -np.inf], pb.Prompts("aabb")),
        "`log_weights` must have positive mass at each prompt; got -inf everywhere at 'b'",
    ),
    "across": (
        lambda: pb.expected_kl(pb.Annotator(P_STAR, pb.luce()), np.zeros(5), pb.ProductProposal(np.ones(5))),
        "`proposal` must only draw answers to one prompt; got ('a', 0) and ('b', 2)",
    ),
    "other prompts": (
        lambda: pb.prompt_pairs(P_STAR, pb.ConditionalDistribution(np.zeros(5), pb.Prompts("aaabb"))),
        "`b` must have the support of `a`; *",
    ),
    "number": (lambda: P_STAR.sample([2]), "`prompts` must be numbers of prompts, below 2; got 2 at index 0"),
    "reward": (
        lambda: pb.optimal_policy(pb.Annotator(P_STAR, pb.luce()), pb.dpo(1.0, pb.ConditionalDistribution(
            [0, -np.inf, 0, 0, 0], PROMPTS))),
        "χ − g must be*",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    if case == "reward":
        # Where the reference is zero the policy is, and the rest is as it was.
        assert BAD[case][0]().pmf[:2].tolist() == [1.0, 0.0]
        return
    with pytest.raises(ValueError, match=pattern(BAD[case][1])):
        BAD[case][0]()


@pytest.mark.parametrize(
    "call",
    [
        lambda a, q: pb.ipo_optimum(a, q, tau=0.5, reference=pb.uniform(range(5))),
        lambda a, q: pb.minimize_slic(a, q, delta=1.0, lambda_=0.0),
        lambda a, q: pb.optimum("ipo", a, q, tau=0.5, reference=pb.uniform(range(5))),
        lambda a, q: pb.optimum("mixture", a, q, reference=pb.uniform(range(5))),
        lambda a, q: pb.barker_transition_matrix(a, np.full((5, 5), 0.2)),
        lambda a, q: pb.sample_barker_chain(a, np.full((5, 5), 0.2), 3, start=0, rng=0),
        lambda a, q: pb.sample_preferences(a, [0], [2], rng=0),
        lambda a, q: pb.sample_counts(a, pb.ProductProposal(np.ones(5)), 10, rng=0),
        lambda a, q: pb.sample_comparisons(a, pb.ProductProposal(np.ones(5)), 10, rng=0),
        lambda a, q: pb.winners_distribution(a, q),
        lambda a, q: pb.uniform(a.support),
        lambda a, q: pb.FiniteDistribution(np.zeros(5), a.support),
        lambda a, q: pb.total_variation(P_STAR, REFERENCE),
        lambda a, q: pb.ProductProposal(P_STAR),
    ],
)
def test_what_normalises_over_everything_refuses(call):
    """Nobody gets a policy that is normalised over all prompts together without having asked for it."""
    with pytest.raises((TypeError, ValueError)):
        call(pb.Annotator(P_STAR, pb.luce()), pb.prompt_pairs(PROMPTS))


def test_ten_thousand_prompts_need_no_loop():
    """160,000 answers with log-probabilities to −1,000: normalised, and the optimum is Eq. (16), as SciPy sums."""
    rng = np.random.default_rng(drawn_seed())
    prompts = pb.Prompts(np.repeat(np.arange(10_000), 16))
    p, r = (pb.ConditionalDistribution(rng.uniform(-1000, 0, prompts.size), prompts) for _ in range(2))
    policy = pb.optimal_policy(pb.Annotator(p, pb.luce()), pb.dpo(2.0, r))
    weights = (r.log_pmf + p.log_pmf / 2.0).reshape(10_000, 16)
    expected = weights - logsumexp(weights, axis=1, keepdims=True)
    np.testing.assert_allclose(policy.log_pmf, expected.ravel(), atol=1e-11)


VALUES = {"beta": 0.5, "label_smoothing": 0.1, "alpha": 0.6, "tau": 0.5, "delta": 1.0, "lambda_": 0.1,
          "epsilon": 0.1, "offset": 0.3, "discopop_tau": 0.05, "baseline": 0.1, "penalty": 0.2, "balance": 0.5,
          "likelihood_weight": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.0, "scale": 2.0,
          "f": np.array([1.0, 2.0, 0.5, 3.0, 1.0])}  # fmt: skip
MIXTURE = "annotator_mixture"
LENGTHS = np.array([3.0, 5.0, 7.0, 4.0, 6.0])


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("loss", [name for name, record in LOSSES.items() if record.optimum and name != MIXTURE])
def test_every_loss_is_led_prompt_by_prompt(loss, several):
    """The optimum at each prompt is that of the prompt alone, with prompts weighted alike or not at all."""
    members = [P_STAR, REFERENCE] if several else [P_STAR]
    given = {name: REFERENCE if name == "reference" else LENGTHS if name == "lengths" else VALUES.get(name, 0.5)
             for name, default in optimum_parameters(loss).items() if name in VALUES or default is Parameter.empty
             or name == "reference"}  # fmt: skip
    crowd = pb.AnnotatorMixture(np.ones(len(members)), [pb.Annotator(p, pb.luce()) for p in members])
    who = crowd if several else crowd.annotators[0]
    found = pb.optimum(loss, who, pb.prompt_pairs(PROMPTS, prompts=[1, 3]), **given)
    assert found.converged or found.reason
    assert isinstance(found.policy, pb.ConditionalDistribution)
    for part in parts(PROMPTS):
        alone_given = {
            name: alone(value, part) if name == "reference" else value[part] if np.ndim(value) else value
            for name, value in given.items()
        }
        inside = pb.AnnotatorMixture(np.ones(len(members)), [pb.Annotator(alone(p, part), pb.luce()) for p in members])
        one = inside if several else inside.annotators[0]
        own = pb.optimum(loss, one, pb.ProductProposal(np.ones(one.size)), **alone_given)
        if found.converged:
            np.testing.assert_allclose(found.policy.pmf[part], own.policy.pmf, atol=found.policy_error + 1e-7)


@pytest.mark.parametrize(("loss", "own"), [("davidson", {"tendency": 0.4}), ("rao_kupper", {"threshold": 0.4})])
def test_ties_are_those_of_each_prompt(loss, own):
    ties = np.full((5, 5), 0.2)
    ties[2, 3] = ties[3, 2] = 0.6
    given = {"beta": 1.0, **own}
    who, pairs = pb.Annotator(P_STAR, pb.luce()), pb.prompt_pairs(PROMPTS)
    found = pb.optimum(loss, who, pairs, reference=REFERENCE, ties=ties, **given)
    for part in parts(PROMPTS):
        one = pb.Annotator(alone(P_STAR, part), pb.luce())
        own_ties = {"reference": alone(REFERENCE, part), "ties": ties[part, part], **given}
        own_found = pb.optimum(loss, one, pb.ProductProposal(np.ones(one.size)), **own_ties)
        np.testing.assert_allclose(found.policy.pmf[part], own_found.policy.pmf, atol=1e-9)
    with pytest.raises(ValueError, match="`ties` must"):
        pb.optimum(loss, who, pairs, reference=REFERENCE, ties=np.full((4, 4), 0.2), **given)


OBJECTIVES = [
    "bradley_terry", pb.objectives.smoothed(0.1), pb.objectives.robust(0.1), pb.hinge(0.5), pb.objectives.rrhf(),
    pb.ipo(0.3), pb.objectives.with_margin(pb.hinge(0.5), 0.3), pb.objectives.davidson(0.3),
]  # fmt: skip


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda x: getattr(x, "name", x))
def test_every_objective_is_least_prompt_by_prompt(objective, several):
    members = [P_STAR, REFERENCE] if several else [P_STAR]
    found = pb.minimize_expected_loss(
        objective, pb.AnnotatorMixture(np.ones(len(members)), [pb.Annotator(p, pb.luce()) for p in members]),
        pb.prompt_pairs(PROMPTS),
    )  # fmt: skip
    assert found.converged, found.reason
    assert isinstance(found.policy, pb.ConditionalDistribution)
    total = 0.0
    for part in parts(PROMPTS):
        inside = pb.AnnotatorMixture(np.ones(len(members)), [pb.Annotator(alone(p, part), pb.luce()) for p in members])
        total += 0.5 * pb.minimize_expected_loss(objective, inside, pb.ProductProposal(np.ones(inside.size))).loss
    assert found.loss == pytest.approx(total, rel=1e-12)


def test_a_fitted_mixture_is_normalised_at_each_prompt():
    """Weights shared across prompts; utilities, and densities of each annotator, at every prompt by itself."""
    both = pb.AnnotatorMixture([1, 2], [pb.Annotator(p, pb.luce()) for p in (P_STAR, REFERENCE)])
    for given in ({}, {"reference": REFERENCE}):
        found = pb.optimum("mixture", both, pb.prompt_pairs(PROMPTS), **given)
        for p in (found.policy, *found.densities):
            np.testing.assert_allclose(PROMPTS.sums(p.pmf), 1.0)
        np.testing.assert_allclose(found.densities[1].log_pmf,
                                   pb.ConditionalDistribution(found.utilities[1], PROMPTS).log_pmf, atol=1e-12)


@pytest.mark.parametrize("draw", range(4))
def test_the_mean_over_prompts_is_least(draw):
    """IPO, the hinge, SLiC with its regulariser and RRHF at ragged prompts of drawn weights: no policy nearby has a
    lower loss than found, written out pair by pair with the prompts' weights, and the gap is small beside what moves.
    """
    rng, prompts, p, reference, (process, _) = drawn([drawn_seed(), draw])
    both = pb.AnnotatorMixture([1, 2], [pb.Annotator(p, process), pb.Annotator(reference, pb.luce())])
    q = pb.prompt_pairs(reference, prompts=rng.uniform(0.1, 1.0, len(prompts.names)))
    a, b, weight = pairs_of(q, prompts.size)
    won, lost = both.probabilities(PairBlock(a, b, weight))
    rho = np.bincount(prompts.number[a], weight)

    def hinge(m):
        return np.maximum(m, 0.0)

    def mean(loss_of):
        """Of log-probabilities, in both orders of each pair."""
        return lambda x: float(weight @ (won * loss_of(x, a, b) + lost * loss_of(x, b, a)))

    ratio = reference.log_pmf
    cases = {
        "ipo": ({"tau": 0.4, "reference": reference}, mean(
            lambda x, w, v: ((x - ratio)[w] - (x - ratio)[v] - 1.25) ** 2)),
        "rso": ({"delta": 0.7, "reference": reference}, mean(
            lambda x, w, v: hinge(0.7 - (x - ratio)[w] + (x - ratio)[v]))),
        "slic": ({"delta": 0.7, "lambda_": 0.2, "reference": reference}, lambda x: mean(
            lambda x, w, v: hinge(0.7 - x[w] + x[v]))(x) - 0.2 * float(rho @ prompts.sums(reference.pmf * x))),
        "rrhf": ({"likelihood_weight": 0.3}, mean(lambda x, w, v: hinge(x[v] - x[w]) - 0.3 * x[w])),
    }  # fmt: skip
    for name, (given, loss) in cases.items():
        found = pb.optimum(name, both, q, **given)
        assert found.converged, (name, found.reason)
        here = loss(found.policy.log_pmf)
        assert here == pytest.approx(found.loss, rel=1e-9), name
        for scale in (1e-3, 0.3):
            near = found.policy.log_pmf + scale * rng.normal(size=prompts.size)
            assert loss(pb.ConditionalDistribution(near, prompts).log_pmf) >= here - found.gap, name
    assert len(found.certificate) == rho.size


def test_what_no_one_asks_is_named():
    """Weights of zero, a prompt that only meets itself, and errors at one prompt."""
    annotator, given = pb.Annotator(P_STAR, pb.luce()), {"tau": 0.5, "reference": REFERENCE}
    for q, words in (
        (pb.prompt_pairs(PROMPTS, prompts=[1, 0]), "comparisons leave out the prompt 'b'"),
        (pb.PairListProposal([2, 3], [3, 4]), "comparisons leave out the prompt 'a'"),
        (pb.PairListProposal([0, 2], [1, 3]), "at the prompt 'b': comparisons fall into 2 groups: compare 2 with 4"),
    ):
        found = pb.optimum("ipo", annotator, q, **given)
        assert (found.policy, found.converged, found.unique) == (None, False, False)
        assert np.isnan(found.utilities).all() or q.x_a.size == 2
        assert found.reason == words
    with pytest.raises(ValueError, match=r"`lengths` must have 5 outcomes; got 3|`lengths` must have 5"):
        pb.optimum("rrhf", annotator, pb.prompt_pairs(PROMPTS), lengths=[1, 2, 3])
    with pytest.raises(ValueError, match="positive") as caught:
        pb.optimum("rrhf", annotator, pb.prompt_pairs(PROMPTS), lengths=[1, 2, 3, 0, 4])
    assert caught.value.__notes__ == ["at the prompt 'b'"]


@pytest.mark.parametrize("steps", [1, 2, 4, 500])
@pytest.mark.parametrize("draw", range(8))
def test_all_prompts_at_once_are_the_dense_minimiser(draw, steps):
    """Utilities over tens of nats, ragged prompts, weights over decades, trees and open prompts; the bounds hold where
    it is stopped early, against the dense minimiser, whose certificate is another.
    """
    rng, prompts, *_ = drawn([drawn_seed(), draw])
    spread = float(rng.choice([1.0, 5.0, 20.0]))
    members = [
        pb.Annotator(pb.ConditionalDistribution(rng.uniform(0, spread, prompts.size), prompts), pb.luce())
        for _ in range(3)
    ]
    both = pb.AnnotatorMixture(rng.uniform(0.1, 1.0, 3), members)
    x_a, x_b = some_pairs(prompts, rng, share=0.5 if draw % 2 else 1.0)
    q = pb.PairListProposal(x_a, x_b, 10.0 ** rng.uniform(-4, 0, x_a.size))
    found = pb.minimize_at_prompts(both, q, max_steps=steps)
    dense = pb.minimize_expected_loss("bradley_terry", both, q)
    components = pb.comparison_components(q, prompts.size)
    apart = found.utilities - dense.utilities
    together = components[:, None] == components
    worst = float(np.abs(np.where(together, apart[:, None] - apart, 0.0)).max())
    assert worst <= found.utility_error + 1e-10
    assert found.loss - dense.loss <= found.gap + 1e-14
    assert found.unique == dense.unique
    if steps == 500:
        assert found.converged
        assert worst < 1e-8
        assert found.policy_error == 1.0 or found.policy_error < 1e-6
        np.testing.assert_allclose(found.policy.pmf, dense.policy.pmf, atol=1e-8)


def some_pairs(prompts, rng, share):
    """About that share of each prompt's pairs, at least one in all."""
    a, b = prompts.pairs()
    keep = (a != b) & (rng.random(a.size) < share)
    keep[1] = True
    return a[keep], b[keep]


def test_all_prompts_at_once_refuse_what_has_no_minimum():
    sure = pb.ConditionalDistribution([0, -np.inf, 0, 0, 0], PROMPTS)
    with pytest.raises(NoMinimumError, match="at every prompt"):
        pb.minimize_at_prompts(pb.Annotator(sure, pb.luce()), pb.prompt_pairs(PROMPTS))
    with pytest.raises(TypeError, match="`annotator` must compare answers to prompts"):
        pb.minimize_at_prompts(pb.Annotator(pb.uniform("ab"), pb.luce()), pb.ProductProposal([1, 1]))
    crowd = pb.AnnotatorMixture([1, 2], [pb.Annotator(sure, pb.luce())] * 2)
    # As a limit, at that prompt.
    found = pb.optimum("dpo", crowd, pb.prompt_pairs(PROMPTS), beta=1.0, reference=REFERENCE)
    np.testing.assert_allclose(found.policy.pmf, pb.product_of_experts(REFERENCE, sure, 1.0).pmf)
    assert found.reason.startswith("at the prompt 'a': no policy is best")


@pytest.mark.parametrize("prompts", [[0.7], [float("nan")], [2], [-1], [[0]]])
def test_numbers_of_prompts_are_whole_and_known(prompts):
    """Control: 0.7 would be taken for 0."""
    assert pb.ConditionalDistribution(np.zeros(4), pb.Prompts("aabb")).sample([0], rng=0).shape == (1,)
    with pytest.raises((TypeError, ValueError), match="`prompts` must be"):
        pb.ConditionalDistribution(np.zeros(4), pb.Prompts("aabb")).sample(prompts)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.log_sums([0.0, 1.0]), "`values` must have 4 outcomes, one for each of the support; got 2"),
        (lambda p: p.log_sums([0.0, 1.0, np.inf, 0.0]), "`values` must be below infinity; got inf at index 2"),
        (lambda p: p.sums([0.0, 1.0]), r"`values` must have 4 rows, one for each answer; got shape \(2,\)"),
        (lambda p: p.sums(3.0), r"`values` must have 4 rows, one for each answer; got shape \(\)"),
        (lambda p: p.sums([0.0, 1.0, np.nan, 0.0]), "`values` must be free of NaN; got nan at index 2"),
        (lambda p: p.centred(np.zeros((3, 4))), r"`values` must have 4 rows, one for each answer; got shape \(3, 4\)"),
        (lambda p: p.centred(np.zeros(4), [1.0]), "`weights` must have 4 outcomes"),
    ],
)
def test_sums_over_answers_refuse_what_is_not_theirs(call, message):
    with pytest.raises(ValueError, match=message):
        call(pb.Prompts("aabb"))


def test_sums_over_answers_take_lists():
    """By hand: 1 + 2 and 3 + 4, and what is left after their means."""
    prompts = pb.Prompts("aabb")
    assert prompts.sums([1.0, 2.0, 3.0, 4.0]).tolist() == [3.0, 7.0]
    assert prompts.centred([1, 2, 3, 5]).tolist() == [-0.5, 0.5, -1.0, 1.0]
