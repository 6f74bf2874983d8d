"""`check_loss(f, objective=…)`: the caller's own formula of a margin, or of two log-ratios."""

import numpy as np
import pytest
from scipy.special import expit

from pbde_ref.catalogue import LOSSES
from pbde_ref.catalogue.batches import PAIRS
from pbde_ref.objectives import BRADLEY_TERRY, Objective
from pbde_ref.oracle import check_loss, iter_checks, run_check
from pbde_ref.oracle.own import _slope, own_loss

FOUR = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")


def logistic(margin, beta=0.3):
    return np.logaddexp(0.0, -beta * margin)


def nca(chosen, rejected, beta):
    """As in noise contrastive alignment: two log-ratios, not their difference."""
    return sum(w * np.logaddexp(0.0, beta * x) for w, x in ((1.0, -chosen), (0.5, chosen), (0.5, rejected)))


def of_margin(formula, **numbers):
    return lambda pc, pr, rc, rr: formula(pc - rc - pr + rr, **numbers).mean()


def report_of(function, **keywords):
    return check_loss(function, on_failure="report", **keywords)


def failed(report):
    return {result.name for result in report.results if result.status == "failed"}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_record_of_a_formula_is_that_of_the_catalogue(reduction):
    """DPO written as a formula has DPO's values, and gradients to nine digits; an `Objective` has them exactly."""
    conventions = {"beta": 0.3, "label_smoothing": 0.0, "variant": "cdpo", "reference_free": False}
    own, conventions = own_loss(logistic, {}), {**conventions, "reduction": reduction}
    value, derivative = BRADLEY_TERRY.value, BRADLEY_TERRY.derivative
    scaled = Objective("scaled", lambda m: value(0.3 * m), lambda m: 0.3 * derivative(0.3 * m), np.zeros_like)
    for arrays in PAIRS.values():
        right = LOSSES["dpo"].evaluate(arrays, conventions)
        for record, digits in ((own, 1e-9), (own_loss(scaled, {}), 1e-13)):
            found = record.evaluate(arrays, conventions)
            np.testing.assert_allclose(found.value, right.value, rtol=1e-13)
            for name, gradient in right.gradients.items():
                np.testing.assert_allclose(found.gradients[name], gradient, rtol=digits, atol=1e-12)


@pytest.mark.parametrize(
    ("formula", "slope"),
    [
        (lambda a, b: np.exp(-a) + b**2, lambda a, b: (-np.exp(-a), 2.0 * b)),
        (lambda a, b: np.logaddexp(a, b), lambda a, b: (expit(a - b), expit(b - a))),
    ],
)
def test_derivatives_of_two_log_ratios(formula, slope):
    record = own_loss(formula, {})
    arrays = {**PAIRS["generic"]}
    a, b = (arrays[f"policy_{s}"] - arrays[f"reference_{s}"] for s in ("chosen", "rejected"))
    _, gradients = record.evaluate(arrays, {"reduction": "none"})
    for name, wanted in zip(("policy_chosen", "policy_rejected"), slope(a, b), strict=True):
        np.testing.assert_allclose(gradients[name], wanted, rtol=1e-9)
    assert record.margins is None


def test_right_functions_pass_and_wrong_ones_are_named():
    def lost(pc, pr, rc, rr, beta):
        return logistic(pc - pr, beta).mean()

    def mine(pc, pr, rc, rr, beta):
        return logistic(pc - rc - pr + rr, beta).mean()

    assert report_of(mine, objective=logistic, beta=0.2).passed
    for wrong, says in (
        (lost, "reference model missing"),
        (lambda *four, beta: -mine(*four, beta=beta), "sign inverted"),
        (lambda a, b, c, d, beta: mine(b, a, d, c, beta), "chosen and rejected swapped"),
        (lambda *four: mine(*four, beta=0.25), "here beta=0.25 instead of 0.2"),
        (lambda *four, beta: mine(*four, beta=0.2), "hyperparameters_used"),
        (lambda *four, beta: logistic(four[0] - four[2] - four[1] + four[3], beta).sum(), "agrees with the sum"),
    ):
        report = report_of(wrong, objective=logistic, beta=0.2)
        assert not report.passed
        assert says in str(report).replace("\n", " ").replace("    ", ""), says
        assert report.loss == "logistic"


def test_gradients_are_held():
    """One part in a hundred thousand; NumPy's own, and PyTorch's."""

    def with_gradients(*four, beta, off=1.0):
        m = beta * (four[0] - four[2] - four[1] + four[3])
        slope = -off * beta * expit(-m) / len(m)
        return np.logaddexp(0.0, -m).mean(), {"policy_chosen": slope, "policy_rejected": -slope}

    keywords = {"objective": logistic, "beta": 0.3, "returns_gradients": True}
    assert report_of(with_gradients, **keywords).passed
    wrong = report_of(lambda *four, beta: with_gradients(*four, beta=beta, off=1.00001), **keywords)
    assert "gradient_policy_chosen" in failed(wrong)
    torch = pytest.importorskip("torch")
    softplus = torch.nn.functional.softplus

    def torch_nca(pc, pr, rc, rr, beta):
        a, b = pc - rc, pr - rr
        return (softplus(-beta * a) + 0.5 * softplus(beta * a) + 0.5 * softplus(beta * b)).mean()

    assert report_of(torch_nca, objective=nca, beta=0.3).held == 22
    assert "gradient_policy_rejected" in failed(
        report_of(lambda a, b, c, d, beta: torch_nca(a, b.detach(), c, d, beta), objective=nca, beta=0.3)
    )


def test_a_kink_is_no_false_alarm_and_hides_no_slope():
    torch = pytest.importorskip("torch")
    for offset in (0.0, 1.0):

        def formula(margin, offset=offset):
            return np.maximum(0.0, offset - margin)

        def hinge(pc, pr, rc, rr, offset=offset):
            return torch.relu(offset - (pc - rc - pr + rr)).mean()

        def halved(*four, hinge=hinge):
            return 0.5 * (hinge(*four) + hinge(*four).detach())

        assert report_of(hinge, objective=formula).passed
        assert "gradient_policy_chosen" in failed(report_of(halved, objective=formula))


def test_derivatives_beside_a_kink_are_in_doubt_by_as_much_as_they_are_off():
    """At every distance, where differences cross the kink; far from it they are exact."""
    at = np.concatenate([[0.0], *(sign * np.geomspace(1e-9, 1.0, 400) for sign in (-1.0, 1.0))])
    slope, doubt = _slope(lambda m: np.logaddexp(0.0, -m) + 50.0 * np.maximum(0.0, -m), at)
    right = -expit(-at) - 50.0 * (at < 0.0)
    assert np.all(np.abs(slope - right) <= 2.0 * doubt + 1e-9)
    assert np.all(doubt[np.abs(at) > 0.05] < 1e-7)


def test_a_loss_of_the_policy_alone():
    def mine(policy_chosen, policy_rejected):
        return logistic(policy_chosen - policy_rejected).mean()

    assert report_of(mine, objective=logistic, reference_free=True).passed


def test_the_checks_have_names():
    names = list(iter_checks(objective=logistic))
    assert names == list(iter_checks("dpo"))
    mine = of_margin(logistic)
    assert run_check("value", mine, objective=logistic).status == "passed"
    assert run_check("value", mine, objective=logistic, beta=0.31).status == "failed"


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({}, TypeError, "got neither"),
        ({"loss": "dpo", "objective": logistic}, TypeError, "got both"),
        ({"objective": 3}, TypeError, "`objective` must be a function or an Objective; got int"),
        ({"objective": lambda: 0.0}, TypeError, "got none"),
        ({"objective": lambda a, b, c: a}, TypeError, "got a, b, c"),
        ({"objective": lambda m: 1.0}, TypeError, "a number for each pair"),
        ({"objective": lambda m: m > 0.0}, TypeError, "got bool of shape"),
        ({"objective": logistic, "beta": "wide"}, TypeError, "`beta` must be"),
        ({"objective": logistic, "tau": 0.3}, TypeError, "got 'tau'"),
    ],
)
def test_what_is_no_definition_is_refused(keywords, error, says):
    with pytest.raises(error, match=says):
        check_loss(of_margin(logistic), **keywords)
