"""Functions that are wrong only where the fixed batches had not looked: each the smallest case of its kind."""

import functools

import numpy as np
import pytest
from scipy.special import expit

from pbde_ref.catalogue import LOSSES
from pbde_ref.catalogue.records import Outcome
from pbde_ref.oracle import check_loss
from pbde_ref.oracle.calling.frameworks import Given, Jax
from pbde_ref.oracle.calling.preparation import conventions_of
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.corners import corners, lopsided, stacked


def margin(pc, pr, rc, rr, beta):
    return beta * (pc - rc - pr + rr)


def right(*four, beta=0.3):
    m = margin(*four, beta)
    slope = -beta * expit(-m) / len(m)
    return np.logaddexp(0.0, -m).mean(), {"policy_chosen": slope, "policy_rejected": -slope}


def rounded_beta(*four, beta=0.3):
    return right(*four, beta=np.round(beta, 1))


def clamped_beta(*four, beta=0.3):
    return right(*four, beta=np.clip(beta, 0.1, 1.0))


def floored_beta(*four, beta=0.3):
    return right(*four, beta=max(beta, 0.02))


def rows_dropped(*four, beta=0.3):
    return right(*(x[:257] for x in four), beta=beta)


def layout_ignored(*four, beta=0.3):
    """Entries read one after the other, as by a kernel that is not told of strides."""
    return right(*(np.lib.stride_tricks.as_strided(x, strides=(x.itemsize,)) for x in four), beta=beta)


def level_at_equal_policies(pc, pr, rc, rr, beta=0.3):
    value = np.logaddexp(0.0, -margin(pc, pr, rc, rr, beta))
    return np.where(pc == pr, np.log(2.0), value).mean(), right(pc, pr, rc, rr, beta=beta)[1]


def level_at_the_reference(pc, pr, rc, rr, beta=0.3):
    value = np.logaddexp(0.0, -margin(pc, pr, rc, rr, beta))
    return np.where(pc == rc, np.log(2.0), value).mean(), right(pc, pr, rc, rr, beta=beta)[1]


def certain_ones_lost(pc, pr, rc, rr, beta=0.3):
    return right(np.where(pc == 0.0, -1.0, pc), pr, rc, rr, beta=beta)


def far_reference_lost(pc, pr, rc, rr, beta=0.3):
    return right(pc, pr, np.where((rc < -5000.0) & (rr > -100.0), 0.0, rc), rr, beta=beta)


def far_policy_halved(pc, pr, rc, rr, beta=0.3):
    value, gradients = right(pc, pr, rc, rr, beta=beta)
    factor = np.where((pc - rc < -50.0) & (pr - rr < -50.0), 0.5, 1.0)
    return value, {name: factor * gradient for name, gradient in gradients.items()}


def from_call(number):
    calls = []

    def loss(*four, beta=0.3):
        calls.append(1)
        value, gradients = right(*four, beta=beta)
        return value * (1.01 if len(calls) >= number else 1.0), gradients

    return loss


def far_wins_for_nothing(*four, beta=0.3):
    value, gradients = right(*four, beta=beta)
    if len(four[0]) == 1 and margin(*four, beta)[0] > 19.0:
        value = 0.0
    return value, gradients


def rows_told_apart(*four, beta=0.3):
    rows, back = np.unique(np.stack(four, axis=1), axis=0, return_inverse=True)
    value, gradients = right(*rows.T, beta=beta)
    return value, {name: gradient[back.ravel()] for name, gradient in gradients.items()}


def gradient_of_another_beta(*four, beta=0.3):
    value, gradients = right(*four, beta=beta)
    return value, {name: gradient * min(beta, 1.0) / beta for name, gradient in gradients.items()}


def gradients_to_references(*of_reference):
    def loss(*four, beta=0.3):
        value, gradients = right(*four, beta=beta)
        slope = gradients["policy_chosen"]
        return value, (slope, -slope, *(factor * slope for factor in of_reference))

    return loss


def gradient_lost_when(condition):
    def loss(*four, beta=0.3):
        value, gradients = right(*four, beta=beta)
        kept = 0.0 if beta < 1.0 and condition(margin(*four, beta).mean()) else 1.0
        return value, {name: kept * gradient for name, gradient in gradients.items()}

    return loss


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (rounded_beta, "hyperparameters_used"),
        (clamped_beta, "hyperparameters_used"),
        (floored_beta, "hyperparameters_used"),
        (rows_dropped, "batch_sizes"),
        (layout_ignored, "batch_sizes"),
        (rows_told_apart, "batch_sizes"),
        (far_wins_for_nothing, "single_inputs"),
        (gradient_of_another_beta, "hyperparameters_used"),
        (gradients_to_references(np.nan, 17.0), "no_gradient_to_reference"),
        (gradients_to_references(1.0, -1.0), "no_gradient_to_reference"),
        (level_at_equal_policies, "single_inputs"),
        (level_at_the_reference, "single_inputs"),
        (certain_ones_lost, "single_inputs"),
        (far_reference_lost, "single_inputs"),
        (far_policy_halved, "single_inputs"),
        (from_call(150), "many_calls"),
        (gradient_lost_when(lambda mean: mean > 20.0), "lopsided_batches"),
    ],
)
def test_one_check_finds_what_no_other_did(wrong, check):
    report = check_loss(wrong, "dpo", beta=0.3, returns_gradients=True, on_failure="report")
    assert [result.name for result in report.results if result.status == "failed"] == [check]


def test_the_right_one_passes():
    """Control of all of them."""
    assert check_loss(right, "dpo", beta=0.3, returns_gradients=True).held == 22


def test_a_gradient_to_the_reference_may_be_right_or_zero():
    """Control; declared to be none, it must be zero."""
    for factors, detached, passes in (((-1.0, 1.0), False, True), ((0.0, 0.0), True, True), ((-1.0, 1.0), True, False)):
        report = check_loss(
            gradients_to_references(*factors), "dpo", beta=0.3, returns_gradients=True, detached_reference=detached,
            on_failure="report",
        )  # fmt: skip
        assert report.passed == passes


def test_layout_matters_to_a_function_of_torch():
    torch = pytest.importorskip("torch")

    def loss(*four, beta=0.3):
        return -torch.nn.functional.logsigmoid(margin(*four, beta)).mean()

    def ignoring(*four, beta=0.3):
        return loss(*(torch.as_strided(x, x.shape, (1,)) for x in four), beta=beta)

    def refusing(*four, beta=0.3):
        assert all(x.is_contiguous() for x in four)
        return loss(*four, beta=beta)

    for function, failed in ((loss, []), (ignoring, ["batch_sizes"]), (refusing, [])):
        report = check_loss(function, "dpo", beta=0.3, on_failure="report")
        assert [result.name for result in report.results if result.status == "failed"] == failed


# What sorts a batch, or takes its mean, has no losses of single examples.
@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.family != "batch"])
def test_corners_are_what_they_say(name):
    """Each example is defined and single; stacked, the batches have the generic batch's shape and all examples."""
    definition = LOSSES[name]
    declared = {n: p.generic for n, p in definition.parameters.items() if p.default is None}
    case = Case(definition, definition.batches["generic"], conventions_of(definition, declared, set()))
    found = list(corners(case))
    assert len({corner.says for corner in found}) == len(found) >= 3
    for says, single in found:
        outcome = single.expected()
        assert isinstance(outcome, Outcome)
        assert np.isfinite(outcome.value).all(), says
        assert single.size == 1
    batches = list(stacked(found, case.size))
    assert {batch.size for batch in batches} == {case.size}
    if definition.family == "batch":
        # Each example's loss depends on the others.
        return
    each = np.concatenate([batch.with_conventions(reduction="none").expected().value for batch in batches])
    wanted = [single.with_conventions(reduction="none").expected().value[0] for _, single in found]
    # Sums of a batch and of a single example may be taken in another order.
    np.testing.assert_allclose(each[: len(found)], wanted, rtol=1e-14)


def test_what_all_examples_share_is_moved_too():
    """The weights of a mixture were the same in all batches: clipped ones passed."""

    def mixture(policy_chosen, policy_rejected, weight_logits, bound=np.inf):
        z = np.clip(weight_logits, -bound, bound)
        log_wins = -np.logaddexp(0.0, policy_rejected - policy_chosen)
        return -np.logaddexp.reduce(z - np.logaddexp.reduce(z) + log_wins, axis=-1).mean()

    assert check_loss(mixture, "mixture").passed
    for bound in (1.0, 4.0):
        clipped = functools.partial(mixture, bound=bound)
        report = check_loss(clipped, "mixture", on_failure="report")
        assert [result.name for result in report.results if result.status == "failed"] == ["single_inputs"]


def test_lopsided_batches_have_ordinary_examples():
    """Means far above and far below, beside margins of single digits."""
    definition = LOSSES["dpo"]
    conventions = conventions_of(definition, {"beta": 0.3}, set())
    generic, extreme = (Case(definition, definition.batches[name], conventions) for name in ("generic", "extreme"))
    won, lost = (corner.case.margins().values for corner in lopsided(generic, extreme))
    assert won.mean() > 400.0
    assert lost.mean() < -400.0
    assert np.abs(won[:3]).max() < 2.0


def test_jax_programs_are_told_apart_by_what_stands_behind_an_address():
    """Two callbacks have one text; each must still be called."""
    jax = pytest.importorskip("jax")
    for number in (1.0, 2.0):
        framework, given = Jax(), [Given(np.ones(3), "float64", False)]

        def loss(x, number=number):
            return x.sum() + jax.pure_callback(lambda _: np.asarray(number), jax.ShapeDtypeStruct((), x.dtype), x)

        framework.call(loss, given, {})
        # Another type than the first call's, so that it is compiled.
        called = framework.call(loss, [given[0]._replace(values=np.ones(4))], {})
        assert float(called.result) == 4.0 + number


def test_a_kink_in_the_wrong_place_is_found():
    """A hinge whose gradient ends a hundredth of a nat too early; the batches have no margin between the two kinks."""

    def hinge(pc, pr, rc, rr, beta=0.3, early=0.0):
        m = beta * (pc - rc - pr + rr)
        slope = np.where(m + early < 1.0, -beta, 0.0) / len(m)
        return np.maximum(0.0, 1.0 - m).mean(), {"policy_chosen": slope, "policy_rejected": -slope}

    keywords = {"beta": 0.3, "returns_gradients": True, "on_failure": "report"}
    assert check_loss(hinge, "hinge", **keywords).passed
    report = check_loss(lambda *four, beta=0.3: hinge(*four, beta=beta, early=0.003), "hinge", **keywords)
    assert [result.name for result in report.results if result.status == "failed"] == ["single_inputs"]
    assert "kink 1 of the loss" in str(report).replace("\n    ", " ")
