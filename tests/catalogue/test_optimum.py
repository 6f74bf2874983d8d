"""`pb.optimum` answers for every loss of the catalogue; what has no answer is a value with advice."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.catalogue import LOSSES, loss_named
from pbde_ref.catalogue.in_use import IN_USE
from pbde_ref.catalogue.losses import optimum_parameters
from pbde_ref.exact.results import Optimum
from tests.seeds import drawn_seed

P, REFERENCE = pb.FiniteDistribution([0.0, -1.5, 0.75, -0.5]), pb.FiniteDistribution([-0.5, 0.25, -1.75, -1.0])
LUCE, PAIRS = pb.Annotator(P, pb.luce()), pb.ProductProposal([1, 2, 1, 3])
GIVEN = {"reference": REFERENCE, "lengths": [1, 2, 3, 4]}
DISAGREEING = pb.PreferenceMatrix(
    [[0.5, 0.9, 0.3, 0.6], [0.1, 0.5, 0.8, 0.4], [0.7, 0.2, 0.5, 0.5], [0.4, 0.6, 0.5, 0.5]]
)


# Losses that are not convex, that have kinks where the best policy lies, or that normalisation holds back.
OPEN = {
    "annotator_mixture", "aot", "aot_unpaired", "apo_down", "bpo", "cal_dpo", "clipped_chi_po", "discopop", "dpop",
    "exo", "orpo", "sppo", "squared_po",
}  # fmt: skip


def parameters_of(loss):
    """Whatever must be given, at the catalogue's generic values."""
    needed = [name for name, default in optimum_parameters(loss).items() if default is inspect.Parameter.empty]
    return {name: GIVEN.get(name, LOSSES[loss].generic.get(name)) for name in needed}


@pytest.mark.parametrize("annotator", [LUCE, DISAGREEING], ids=["Luce", "matrix"])
@pytest.mark.parametrize("loss", [name for name, record in LOSSES.items() if record.optimum])
def test_every_loss_has_an_optimum_with_a_bound(loss, annotator):
    found = pb.optimum(loss, annotator, PAIRS, **parameters_of(loss))
    assert isinstance(found, Optimum)
    if loss in OPEN:
        # Nothing proves that it is the best; what is known is said, and nothing more.
        assert found.converged is (found.reason == "")
        assert found.converged or found.unique is not True
    if found.policy is None:
        assert {"squared_po": "no policy on the support", "aot_unpaired": "falls for ever"}[loss] in found.reason
        return
    assert found.policy.pmf.sum() == pytest.approx(1.0, abs=1e-12)
    assert 0.0 <= found.gap < np.inf
    assert found.proof in ("curvature", "dual", "equations", "divergence")
    if loss not in OPEN:
        assert found.converged, found.reason
        assert found.reason == ""


def expected_batch(record, annotator, parameters, log_pmf):
    """The loss of a batch of all pairs, as often as asked and won, with its derivative by log-probabilities."""
    n, log_pre = log_pmf.size, REFERENCE.log_pmf
    won = annotator.preference_probabilities() * (PAIRS.matrix(n) + PAIRS.matrix(n).T)
    w, v = (x.ravel() for x in np.indices((n, n)))
    names = {
        "policy_chosen": log_pmf[w], "policy_rejected": log_pmf[v], "reference_chosen": log_pre[w],
        "reference_rejected": log_pre[v], "chosen_lengths": np.array(GIVEN["lengths"])[w],
        "rejected_lengths": np.array(GIVEN["lengths"])[v], "policy": log_pmf[np.r_[w, v]],
        "labels": np.ones(w.size), "ties": np.zeros(w.size),
        **{f"{p}_{x}_excess": np.zeros(w.size) for p in ("policy", "reference") for x in ("chosen", "rejected")},
        "reference": log_pre[np.r_[w, v]], "desirable": np.r_[np.ones(w.size), np.zeros(v.size)],
    }  # fmt: skip
    own = {k: x for k, x in parameters.items() if k not in GIVEN}
    result = record.batch(**{i.name: names[i.name] for i in record.inputs(record.generic)}, **own, reduction="sum")
    weight = np.tile(won.ravel(), 2) if record.family == "answers" else won.ravel()
    gradient = np.zeros(n)
    places = {"policy": np.r_[w, v], "policy_chosen": w, "policy_rejected": v}
    for name in places.keys() & result.gradients.keys():
        np.add.at(gradient, places[name], weight * result.gradients[name])
    return float(weight @ result.losses), gradient


# Pairs are weighted, or sorted, by the policy itself: no expectation of a batch function.
BY_THE_POLICY = ("wpo", "aot", "aot_unpaired")


@pytest.mark.parametrize("loss", [x.name for x in IN_USE if x.has_policy and x.name not in BY_THE_POLICY])
def test_an_optimiser_finds_nothing_better(loss):
    """A quasi-Newton method on the batch function, from drawn starts, ends where `pb.optimum` does, or above."""
    record, parameters, rng = LOSSES[loss], parameters_of(loss), np.random.default_rng(drawn_seed())
    found = pb.optimum(loss, DISAGREEING, PAIRS, **parameters)

    def of_softmax(theta):
        log_pmf = theta - np.logaddexp.reduce(theta)
        value, gradient = expected_batch(record, DISAGREEING, parameters, log_pmf)
        return value, gradient - np.exp(log_pmf) * gradient.sum()

    starts = [REFERENCE.log_pmf, *(rng.normal(scale=1.5, size=4) for _ in range(4))]
    best = min(minimize(of_softmax, start, jac=True, options={"gtol": 1e-9}).fun for start in starts)
    held = np.maximum(found.policy.log_pmf, -600.0)
    here = expected_batch(record, DISAGREEING, parameters, held - np.logaddexp.reduce(held))[0]
    assert found.loss == pytest.approx(here, rel=1e-9)
    assert best >= found.loss - found.gap - 1e-12
    # A method without second thoughts stops at DiscoPOP's worse minima and at kinks, and short of what is excluded.
    near = {"apo_down": 0.1, "bpo": 1e-2, "dpop": 1e-2, "discopop": np.inf}.get(loss, 1e-5)
    assert best == pytest.approx(found.loss, abs=near)


@given(seed=st.integers(0, 2**32 - 1))
def test_no_policy_nearby_has_a_lower_expected_loss(seed):
    """IPO, RSO and DPO at the policy that is called the best, against policies drawn around it."""
    rng = np.random.default_rng(seed)
    for loss, objective, parameters in (
        ("dpo", pb.BRADLEY_TERRY, {"beta": 1.0}),
        ("ipo", pb.ipo(0.3), {"tau": 0.3}),
        ("rso", pb.hinge(0.7), {"delta": 0.7}),
    ):
        found = pb.optimum(loss, DISAGREEING, PAIRS, reference=REFERENCE, **parameters)
        log_ratio = found.policy.log_pmf - REFERENCE.log_pmf
        other = log_ratio + 10.0 ** rng.uniform(-3, 0) * rng.normal(size=4)
        here, there = (pb.expected_loss(objective, DISAGREEING, u, PAIRS).value for u in (log_ratio, other))
        assert found.loss == pytest.approx(here, rel=1e-9)
        assert here <= there + found.gap + 1e-12


def test_closed_forms_are_those_of_the_paper():
    dpo = pb.optimum("dpo", LUCE, PAIRS, beta=2.0, reference=REFERENCE)
    assert pb.total_variation(dpo.policy, pb.product_of_experts(REFERENCE, P, 2.0)) < 1e-14
    geometric = pb.optimum("geometric", LUCE, PAIRS, alpha=0.3, reference=REFERENCE)
    assert pb.total_variation(geometric.policy, pb.geometric_mean(P, REFERENCE, 0.3)) < 1e-14
    assert pb.total_variation(pb.optimum("reward", LUCE, PAIRS).policy, P) < 1e-14


def test_the_scaled_hinge_is_rso_in_other_units():
    """(1 − βm)⁺ = β (1/β − m)⁺."""
    scaled = pb.optimum("hinge", DISAGREEING, PAIRS, beta=0.4, reference=REFERENCE)
    rso = pb.optimum("rso", DISAGREEING, PAIRS, delta=2.5, reference=REFERENCE)
    assert scaled.policy.pmf == pytest.approx(rso.policy.pmf, abs=1e-15)
    assert scaled.loss == pytest.approx(0.4 * rso.loss, rel=1e-14)


@pytest.mark.parametrize("loss", ["dpo", "ipo"])
def test_unconnected_comparisons_are_a_value_that_says_what_to_compare(loss):
    parameters = parameters_of(loss)
    found = pb.optimum(loss, LUCE, pb.PairListProposal([0, 2], [1, 3]), **parameters)
    assert found.policy is None
    assert not found.converged
    assert "compare 0 with 2" in found.reason


def test_an_infimum_is_a_limit():
    """An outcome that always loses: its probability tends to zero, and no policy attains the infimum."""
    annotator = pb.PreferenceMatrix([[0.5, 0.75, 1.0], [0.25, 0.5, 1.0], [0.0, 0.0, 0.5]])
    found = pb.optimum("pbde", annotator, pb.ProductProposal([1, 1, 1]))
    assert found.policy.pmf == pytest.approx([0.75, 0.25, 0.0], abs=1e-12)
    assert "no policy is best" in found.reason


def test_a_loss_that_falls_for_ever_is_a_value():
    """Robust DPO with more smoothing than the answers have noise."""
    sure = pb.PreferenceMatrix([[0.5, 0.95], [0.05, 0.5]])
    given = {"beta": 1.0, "reference": pb.uniform([0, 1]), "variant": "robust"}
    found = pb.optimum("dpo", sure, pb.ProductProposal([1, 1]), label_smoothing=0.1, **given)
    assert found.policy is None
    assert "falls for ever" in found.reason
    held = pb.optimum("dpo", sure, pb.ProductProposal([1, 1]), label_smoothing=0.04, **given)
    # Clean answers would be (0.95 − 0.04) / 0.92 sure.
    q = 0.91 / 0.92
    assert held.policy.pmf[0] == pytest.approx(q, rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "parameters", "error", "message"),
    [
        ("ppo", {}, ValueError, "`loss` must be one of .* such as"),
        ("dpo", {"tau": 1.0}, TypeError, "the optimum of 'dpo' takes `beta`, `reference`, label_smoothing=0.0"),
        ("slic", {"delta": -1.0}, ValueError, "`delta` must be non-negative; got -1.0"),
        ("dpo", {"beta": 0.0, "reference": REFERENCE}, ValueError, "`beta` must be positive; got 0.0"),
    ],
)
def test_wrong_usage_is_named(loss, parameters, error, message):
    with pytest.raises(error, match=message):
        pb.optimum(loss, LUCE, PAIRS, **parameters)


def test_every_parameter_has_a_rule_and_the_word_is_one():
    """A parameter that several losses have is checked alike, and called the same letter."""
    seen = {}
    for record in LOSSES.values():
        for name, parameter in record.parameters.items():
            assert seen.setdefault(name, parameter).letter == parameter.letter
            with pytest.raises((ValueError, TypeError)):
                parameter.checked(name, np.nan if parameter.rule == "real" else -1)
    assert loss_named("hinge").name == "scaled_hinge"
    assert loss_named("mixture").name == "annotator_mixture"


def test_a_policy_that_comparisons_leave_open_is_not_called_the_only_one():
    """On the star (0, 2), (1, 2) with p* = (.3, .7, 0) every (a, 1 - a, 0) has zero loss."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.3, 0.7, 0.0]), pb.luce())
    star = pb.PairListProposal([0, 1], [2, 2])
    found = pb.optimum("pbde", annotator, star)
    assert (found.unique, found.converged, found.policy_error) == (False, False, 1.0)
    assert "other policies are as good" in found.reason
    assert pb.optimum("pbde", annotator, pb.ProductProposal([1, 1, 1])).unique


def test_a_closed_form_of_many_outcomes_needs_no_pairs():
    annotator = pb.Annotator(pb.FiniteDistribution(np.linspace(-3.0, 3.0, 20_000)), pb.luce())
    found = pb.optimum("pbde", annotator, pb.ProductProposal(np.ones(20_000)))
    assert found.converged
    assert pb.total_variation(found.policy, annotator.distribution) < 1e-12


def test_the_scaled_hinges_parts_are_scaled_alike():
    scaled = pb.optimum("hinge", DISAGREEING, PAIRS, beta=0.4, reference=REFERENCE)
    assert scaled.hinge == pytest.approx(scaled.loss, rel=1e-14)


def test_ipo_per_token_is_the_minimum_of_its_loss():
    """Eq. (23) of log-ratios per token: no policy nearby is better, and unit lengths change nothing."""
    lengths = np.array([1.0, 2.0, 3.0, 4.0])
    found = pb.optimum("ipo", DISAGREEING, PAIRS, tau=0.3, reference=REFERENCE, lengths=lengths)

    def loss(log_policy):
        return pb.expected_loss(pb.ipo(0.3), DISAGREEING, (log_policy - REFERENCE.log_pmf) / lengths, PAIRS).value

    here, rng = loss(found.policy.log_pmf), np.random.default_rng(5)
    assert found.loss == pytest.approx(here, rel=1e-9)
    for scale in 10.0 ** np.linspace(-4, 0, 20):
        other = pb.FiniteDistribution(found.policy.log_pmf + scale * rng.normal(size=4))
        assert loss(other.log_pmf) >= here - 1e-12
    plain = pb.optimum("ipo", DISAGREEING, PAIRS, tau=0.3, reference=REFERENCE)
    unit = pb.optimum("ipo", DISAGREEING, PAIRS, tau=0.3, reference=REFERENCE, lengths=[1, 1, 1, 1])
    assert pb.total_variation(plain.policy, unit.policy) < 1e-12


WITH_REFERENCE = [name for name, loss in LOSSES.items() if loss.optimum and "reference" in optimum_parameters(name)]


def least(loss, reference, **changed):
    """The optimum for two answers, all parameters that must be given 1/4, lengths 1."""
    known = optimum_parameters(loss)
    needed = [name for name, default in known.items() if default is inspect.Parameter.empty]
    given = {name: [1.0, 1.0] if name == "lengths" else 0.25 for name in needed}
    given |= {"reference": reference} if "reference" in known else {}
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 2], support=["tea", "coffee"]), pb.luce())
    given |= {name: value for name, value in changed.items() if name in known}
    return pb.optimum(loss, annotator, pb.ProductProposal([1, 1]), **given)


WITH_LOG_RATIOS = ["dpo", "geometric", "ln_dpo", "soft_dpo", "odpo", "exo", "f_dpo", "chi_po", "squared_po"]


@pytest.mark.parametrize("loss", WITH_LOG_RATIOS)
def test_what_the_reference_excludes_has_no_log_ratio(loss):
    """Not "converged" with an infinite loss, as DPO was, nor with a finite one."""
    found = least(loss, pb.FiniteDistribution.from_weights([1, 0], support=["tea", "coffee"]), label_smoothing=0.25)
    assert found.policy is None
    assert not found.converged
    assert found.reason == "log-ratios have no value: the reference excludes 'coffee', which is compared"


def test_what_nobody_prefers_may_be_excluded():
    """Control: with p* and the reference zero at the same outcome the optimum is that of the others, Eq. (16)."""
    names = ["tea", "coffee", "mud"]
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([4, 1, 0], support=names), pb.luce())
    reference = pb.FiniteDistribution.from_weights([1, 1, 0], support=names)
    found = pb.optimum("dpo", annotator, pb.ProductProposal([1, 1, 1]), beta=2.0, reference=reference)
    np.testing.assert_allclose(found.policy.pmf, [2 / 3, 1 / 3, 0.0], atol=1e-15)


EXTREMES = [1e308, 1e-308, 5e-324, -1e308, 1e101, 1e-101]


@pytest.mark.parametrize("loss", [name for name, record in LOSSES.items() if record.optimum is not None])
def test_numbers_beyond_the_range_of_squares_are_named(loss):
    numbers = [name for name, value in optimum_parameters(loss).items()
               if value is inspect.Parameter.empty or isinstance(value, float)]  # fmt: skip
    for name in set(numbers) - {"reference", "lengths"}:
        for value in EXTREMES:
            with pytest.raises(ValueError, match=f"^`{name}` must be"):
                least(loss, pb.FiniteDistribution.from_weights([1, 1], support=["tea", "coffee"]), **{name: value})


@pytest.mark.parametrize("beta", [1e8, 2.0**31, 1e100])
@pytest.mark.parametrize("loss", ["bco", "bco_single"])
def test_a_loss_without_curvature_is_descended_without_a_warning(loss, beta):
    least(loss, pb.FiniteDistribution.from_weights([1, 2], support=["tea", "coffee"]), beta=beta)


@pytest.mark.parametrize("wrong", [[0.5, 0.5], "uniform", {}, 3.0])
@pytest.mark.parametrize("loss", WITH_REFERENCE)
def test_a_reference_that_is_none_is_named(loss, wrong):
    """Half of the losses ended in an AttributeError."""
    with pytest.raises(TypeError, match="`reference` must be a FiniteDistribution or ConditionalDistribution; got"):
        least(loss, wrong)


@pytest.mark.parametrize(
    ("support", "message"),
    [
        (["coffee", "tea"], r"the support of `annotator`; got .*'coffee'\)? where that has .*'tea'\)?, at index 0"),
        (["tea", "milk"], r"the support of `annotator`; got .*'milk'\)? where that has .*'coffee'\)?, at index 1"),
        (["tea", "coffee", "milk"], "2 outcomes"),
    ],
)
@pytest.mark.parametrize("loss", WITH_REFERENCE)
def test_a_reference_speaks_of_the_annotators_outcomes(loss, support, message):
    """Twelve losses took what stood at the same place for the same outcome."""
    with pytest.raises(ValueError, match=f"`reference` must have {message}"):
        least(loss, pb.FiniteDistribution(np.arange(len(support)), support))


@pytest.mark.parametrize("annotator", [LUCE, DISAGREEING], ids=["Luce", "matrix"])
def test_where_wpo_stops_its_own_gradient_vanishes(annotator):
    """proofs/policy_weights.md"""
    given = {"beta": 0.7, "lengths": GIVEN["lengths"]}
    found = pb.optimum("wpo", annotator, PAIRS, reference=REFERENCE, **given)
    loss, gradient = expected_batch(LOSSES["wpo"], annotator, given, found.policy.log_pmf)
    assert np.abs(gradient).max() < 1e-11
    assert found.loss == pytest.approx(loss, rel=1e-11)
    assert found.unique is (True if annotator is LUCE else None)


@pytest.mark.parametrize(("loss", "own"), [("rao_kupper", {"threshold": 0.4}), ("davidson", {"tendency": 0.6})])
def test_ties_are_those_of_the_batch_function(loss, own):
    """proofs/ties.md"""
    rng = np.random.default_rng(drawn_seed())
    ties = rng.random((4, 4))
    ties = 0.5 * (ties + ties.T)
    found = pb.optimum(loss, DISAGREEING, PAIRS, beta=0.7, reference=REFERENCE, ties=ties, **own)
    w, v = (x.ravel() for x in np.indices((4, 4)))
    won = (DISAGREEING.preference_probabilities() * (PAIRS.matrix(4) + PAIRS.matrix(4).T)).ravel()
    share, q = ties.ravel(), PAIRS.matrix(4).ravel()

    def expected(log_pmf):
        batch = [p[x] for p in (log_pmf, REFERENCE.log_pmf) for x in (w, v)]
        decided, tied = (
            LOSSES[loss].batch(*batch, ties=np.full(w.size, tie), beta=0.7, reduction="sum", **own) for tie in (0, 1)
        )
        # A tie is told once, whoever is named first.
        return float(((1.0 - share) * won) @ decided.losses + (share * q) @ tied.losses)

    assert found.loss == pytest.approx(expected(found.policy.log_pmf), rel=1e-12)
    assert found.converged
    for scale in (1e-3, 1e-1, 1.0):
        assert expected(pb.FiniteDistribution(found.policy.log_pmf + scale * rng.normal(size=4)).log_pmf) > found.loss


def test_ties_that_are_none_are_named():
    given = {"beta": 1.0, "threshold": 0.4, "reference": REFERENCE}
    for ties, message in (
        (np.zeros((3, 3)), "a row and a column for each outcome, 4"),
        (np.full((4, 4), 2.0), r"in \[0, 1\]; got 2.0"),
        (np.triu(np.full((4, 4), 0.5)), "the same in both orders of a pair"),
    ):
        with pytest.raises(ValueError, match=f"`ties` must .*{message}"):
            pb.optimum("rao_kupper", LUCE, PAIRS, ties=ties, **given)
