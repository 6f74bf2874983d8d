"""`check_training`: right trainers pass, wrong ones are named, and finite data are not blamed on the trainer.

Trainers minimise the batch losses of the package over all comparisons by L-BFGS, with the batch's own gradients; the
oracle's optima come from elsewhere (Newton on expectations, closed forms, linear programmes).
"""

import json
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.oracle.training.check import TrainingError, check_training
from pbde_ref.oracle.training.rivals import spread
from pbde_ref.oracle.training.several_prompts import draw_sample

LENGTHS = np.array([3, 5, 2, 9, 4, 7, 6, 8])


class Loss(NamedTuple):
    """What trainers below minimise."""

    value: float
    gradients: dict


def log_softmax(logits):
    return np.asarray(pb.FiniteDistribution(logits).log_pmf)


def trainer(loss, *, start_at_reference=True, **minimizer):
    """A trainer that minimises `loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, a, b)`."""

    def train(comparisons, reference_log_probs):
        a, b = comparisons

        def value_and_gradient(logits):
            log_probs = log_softmax(logits)
            result = loss(log_probs[a], log_probs[b], reference_log_probs[a], reference_log_probs[b], a, b)
            by_outcome = np.bincount(a, result.gradients["policy_chosen"], logits.size)
            by_outcome += np.bincount(b, result.gradients["policy_rejected"], logits.size)
            return result.value, by_outcome - by_outcome.sum() * np.exp(log_probs)

        options = {"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9} | minimizer
        start = reference_log_probs if start_at_reference else np.zeros_like(reference_log_probs)
        return log_softmax(minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x)

    return train


def dpo(beta, **smoothing):
    return trainer(lambda pw, pl, rw, rl, *_: pb.dpo_loss(pw, pl, rw, rl, beta=beta, **smoothing))


def geometric(alpha):
    return trainer(lambda pw, pl, rw, rl, *_: pb.geometric_loss(pw, pl, rw, rl, alpha=alpha))


def ipo(tau):
    return trainer(lambda pw, pl, rw, rl, *_: pb.ipo_loss(pw, pl, rw, rl, tau=tau))


def luce(scale=1.0):
    return trainer(lambda pw, pl, rw, rl, *_: pb.pbde_loss(pw, pl, f_chosen=scale, f_rejected=scale))


def length_normalized(lengths, scale):
    return trainer(
        lambda pw, pl, rw, rl, a, b: pb.length_normalized_loss(pw, pl, lengths[a], lengths[b], scale=scale)
    )


def hinge(delta, reference, steps=4000):
    """Subgradient descent on the counted hinge loss, with steps that fade and an average of the second half."""

    def train(comparisons, reference_log_probs):
        size = reference_log_probs.size
        counts = np.zeros((size, size))
        np.add.at(counts, tuple(comparisons), 1.0 / comparisons.chosen.size)
        u, total = np.zeros(size), np.zeros(size)
        for step in range(steps):
            active = counts * (u[:, None] - u[None, :] < delta)
            u = u + (active.sum(1) - active.sum(0)) * 4.0 / np.sqrt(1.0 + step)
            total += u * (step >= steps // 2)
        return log_softmax(total / (steps - steps // 2) + (reference_log_probs if reference else 0.0))

    return train


RIGHT = {
    "dpo 0.1": (dpo(0.1), "dpo", {"beta": 0.1}, "DPO", 0.1),
    "dpo 0.5": (dpo(0.5), "dpo", {"beta": 0.5}, "DPO", 0.5),
    "dpo 3": (dpo(3.0), "dpo", {"beta": 3.0}, "DPO", 3.0),
    "dpo smoothed": (
        dpo(0.5, label_smoothing=0.1), "dpo", {"beta": 0.5, "label_smoothing": 0.1}, "DPO with label smoothing 0.1", 0.5
    ),
    "geometric": (geometric(0.25), "geometric", {"alpha": 0.25}, "the geometric loss", 0.25),
    "luce": (luce(), "luce", {}, "the Luce rule (DPO without the reference)", 1.0),
    "ipo": (ipo(0.2), "ipo", {"tau": 0.2}, "IPO", 0.2),
    "rso": (hinge(1.5, True), "rso", {"delta": 1.5}, "RSO", 1.5),
    "slic": (hinge(1.5, False), "slic", {"delta": 1.5}, "SLiC without regulariser (RSO without the reference)", 1.5),
    "length-normalised": (
        length_normalized(LENGTHS, 3.0), "length_normalized", {"lengths": LENGTHS, "scale": 3.0},
        "length_normalized as declared", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_right_trainers_pass(case, seed):
    """A trainer of the declared objective passes, and that objective fits best, with the declared parameter."""
    train, loss, conventions, objective, value = RIGHT[case]
    report = check_training(train, loss=loss, seed=seed, **conventions)
    assert report.passed
    assert report.training_error < 0.01
    best = report.fits[0]
    assert best.objective == objective
    assert value is None or best.value == pytest.approx(value, rel=0.02)


WRONG = {
    "beta twice": (dpo(0.25), "dpo", {"beta": 0.5}, "DPO", "squared"),
    "beta unused": (dpo(1.0), "dpo", {"beta": 0.5}, "DPO", "were not used"),
    "one over beta": (dpo(4.0), "dpo", {"beta": 0.25}, "DPO", "1/beta"),
    "no reference": (luce(0.5), "dpo", {"beta": 0.5}, "the Luce rule (DPO without the reference)", ""),
    "ipo instead": (ipo(0.5), "dpo", {"beta": 0.5}, "IPO", ""),
    "geometric instead": (geometric(0.5), "dpo", {"beta": 0.5}, "the geometric loss", ""),
    "hinge instead": (hinge(1.0, True), "dpo", {"beta": 0.5}, "RSO", ""),
    "dpo instead of ipo": (dpo(0.2), "ipo", {"tau": 0.2}, "DPO", ""),
    "smoothing ignored": (dpo(0.5), "dpo", {"beta": 0.5, "label_smoothing": 0.1}, "DPO",
                          "you declared beta=0.5 and label_smoothing=0.1"),
    "lengths ignored": (luce(3.0), "length_normalized", {"lengths": LENGTHS, "scale": 3.0},
                        "the Luce rule (DPO without the reference)", ""),
    "tau halved": (ipo(0.1), "ipo", {"tau": 0.2}, "IPO", "half of tau"),
    "untrained": (lambda comparisons, reference: reference, "dpo", {"beta": 0.5},
                  "the reference itself, untrained", ""),
    "chosen imitated": (lambda comparisons, reference: log_softmax(np.log(np.bincount(comparisons.chosen))), "dpo",
                        {"beta": 0.5}, "maximum likelihood of the chosen outcomes", ""),
    "swapped": (lambda comparisons, reference: dpo(0.5)(type(comparisons)(*comparisons[::-1]), reference), "dpo",
                {"beta": 0.5}, "DPO", "exchanged"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_objectives_are_named(case):
    """A trainer of another objective fails; the message names the objective and the slip."""
    train, loss, conventions, objective, words = WRONG[case]
    with pytest.raises(TrainingError) as caught:
        check_training(train, loss=loss, **conventions)
    report = caught.value.report
    assert report.fits[0].objective == objective
    assert report.fits[0].distance <= report.tolerance
    assert words in report.message
    assert report.message in str(caught.value)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_stopping_early_is_no_other_objective(steps):
    """A trainer that stops early is told how far it came; no objective is blamed outright, although on its way a policy
    passes near other objectives' optima.
    """
    train = trainer(lambda pw, pl, rw, rl, *_: pb.dpo_loss(pw, pl, rw, rl, beta=0.5), maxiter=steps)
    report = check_training(train, loss="dpo", beta=0.5, on_failure="report")
    assert not report.passed
    assert 0.0 < report.progress < 1.0
    assert "may have stopped early" in report.message
    assert "fitted best" not in report.message


def test_finite_data_are_not_the_trainers_doing():
    """With fewer comparisons the sample's optimum moves away from the population's; the trainer still passes."""
    reports = [check_training(dpo(0.5), beta=0.5, n_comparisons=n) for n in (1000, 100_000)]
    assert all(report.passed for report in reports)
    assert reports[0].finite_data_error > 3 * reports[1].finite_data_error
    assert reports[0].finite_data_error > 2 * reports[0].tolerance


def test_a_trainer_that_knows_the_truth_fails():
    """Control: the population's optimum is not the sample's; a policy that ignores the sample is found out."""
    first = check_training(dpo(0.5), beta=0.5, n_comparisons=1000)
    report = check_training(lambda *_: first.population_optimum, beta=0.5, n_comparisons=1000, on_failure="report")
    assert not report.passed
    assert report.training_error == pytest.approx(first.finite_data_error)


def test_population_optima_have_their_closed_forms():
    """Eq. (16) and (18): the population's optimum is known without any solver."""
    for loss, conventions, process in (
        ("dpo", {"beta": 0.5}, lambda r: pb.dpo(0.5, r)),
        ("geometric", {"alpha": 0.25}, lambda r: pb.geometric_average(0.25, r)),
    ):
        sample = draw_sample(loss, conventions, 8, 4000, seed=0, tolerance=0.02)
        expected = pb.optimal_policy(sample.population, process(pb.FiniteDistribution(sample.reference)))
        assert sample.optima[1] == pytest.approx(expected.log_pmf, abs=1e-9)


def test_sample_optimum_by_hand():
    """IPO on a sample: log-ratios solve the normal equations, written out with a double loop."""
    sample = draw_sample("ipo", {"tau": 0.2}, 5, 2000, seed=3, tolerance=0.02)
    matrix, right = np.zeros((5, 5)), np.zeros(5)
    for a, b in zip(*sample.comparisons, strict=True):
        matrix[[a, b], [a, b]] += 1.0
        matrix[[a, b], [b, a]] -= 1.0
        right[[a, b]] += 2.5, -2.5
    ratio = np.linalg.lstsq(matrix, right)[0]
    assert spread(sample.optima[0] - sample.reference - ratio) < 1e-10


def test_samples_repeat_and_differ_by_seed():
    """Equal seeds give equal samples; another seed gives another."""
    one, same, other = (draw_sample("dpo", {"beta": 0.5}, 8, 4000, seed, 0.02) for seed in (5, 5, 6))
    assert np.array_equal(one.comparisons, same.comparisons)
    assert np.array_equal(one.reference, same.reference)
    assert not np.array_equal(one.comparisons, other.comparisons)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (lambda comparisons, reference: None, "it returned None"),
        (lambda comparisons, reference: reference[:3], r"it returned shape (3,)"),
        (lambda comparisons, reference: reference * np.nan, "it returned nan"),
        (lambda comparisons, reference: reference + 1.0, "logits instead?"),
        (lambda comparisons: comparisons, "it raised TypeError"),
        (lambda comparisons, reference: 1 / 0, "it raised ZeroDivisionError"),
        (lambda comparisons, reference: np.subtract(reference, 0.0, out=reference) + comparisons.chosen.sort(),
         "raised TypeError"),
        (lambda comparisons, reference: (comparisons.chosen.fill(0), reference)[1], "it modified its input"),
    ],
)  # fmt: skip
def test_bad_trainers_are_told_what_was_called(train, words):
    """A trainer that returns no policy is told what it was called with, what it returned and what was expected."""
    report = check_training(train, beta=0.5, on_failure="report")
    assert not report.passed
    assert words in report.message
    assert "was called with 4000 comparisons" in report.message
    assert "expected: the policy's log-probabilities, shape (8,)" in report.message
    assert report.fits == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": "simpo"}, "`loss` must be 'dpo'"),
        ({}, r"'dpo' must have the parameters \['beta'\]"),
        ({"beta": 0.5, "tau": 1.0}, r"may have \['label_smoothing'\]"),
        ({"beta": -1.0}, "`beta` must be positive"),
        ({"beta": 0.5, "support_size": 3}, "`support_size` must be at least 4"),
        ({"beta": 0.5, "n_comparisons": 10}, "`n_comparisons` must be large enough"),
        ({"beta": 0.5, "tolerance": 0.3}, "twice the tolerance"),
        ({"beta": 0.5, "on_failure": "warn"}, "`on_failure`"),
        ({"loss": "length_normalized", "lengths": [1, 2, 3]}, "`lengths` must have 8 outcomes"),
    ],
)
def test_wrong_usage_is_refused_before_training(arguments, words):
    """A wrong declaration raises ValueError, and `train` is never called."""

    def never(*_):
        raise AssertionError("called")

    with pytest.raises(ValueError, match=words):
        check_training(never, **arguments)
    with pytest.raises(TypeError, match="callable"):
        check_training(3, beta=0.5)


def test_report_is_json():
    """`as_dict` survives JSON, with and without a policy."""
    for train in (dpo(0.5), lambda *_: None):
        report = check_training(train, beta=0.5, on_failure="report")
        record = json.loads(json.dumps(report.as_dict(), allow_nan=False))
        assert record["passed"] == report.passed
        assert record["conventions"] == {"beta": 0.5}
        assert len(record["sample_optimum"]) == 8


def counting(train, per_call):
    """A trainer that does what it likes from one call to the next; `per_call` gets the call's number and its result."""
    calls = []

    def counted(comparisons, reference_log_probs):
        calls.append(None)
        return per_call(len(calls), train(comparisons, reference_log_probs), reference_log_probs)

    return counted


@pytest.mark.parametrize("seed", [0, 3])
def test_a_second_identical_call_must_end_there_too(seed):
    """State between calls, and chance that matters, are found; a trainer without them repeats to the last digit."""
    right = check_training(dpo(0.5), beta=0.5, seed=seed)
    assert right.repeat_error == 0.0
    assert "repeat error" in right.message

    def longer():
        return counting(dpo(0.5), lambda call, policy, reference: log_softmax(reference + call * (policy - reference)))

    report = check_training(longer(), beta=0.5, seed=seed, on_failure="report")
    assert not report.passed
    assert report.training_error <= report.tolerance
    assert report.repeat_error == pytest.approx(1.0, abs=1e-3)
    assert "second identical call ended elsewhere" in report.message
    assert not json.loads(json.dumps(report.as_dict(), allow_nan=False))["passed"]
    once = check_training(longer(), beta=0.5, seed=seed, repeat=False)
    assert once.passed
    assert np.isnan(once.repeat_error)


def test_chance_within_the_tolerance_is_none_of_its_business():
    """A trainer whose ends differ a little from call to call passes, and the report says by how much."""
    rng = np.random.default_rng(11)
    noisy = counting(dpo(0.5), lambda call, policy, _: log_softmax(policy + 1e-3 * rng.standard_normal(policy.size)))
    report = check_training(noisy, beta=0.5)
    assert 0.0 < report.repeat_error < report.tolerance


def test_a_second_call_may_break():
    """What the second call raises or returns is said."""
    broken = counting(dpo(0.5), lambda call, policy, _: policy if call == 1 else policy * np.nan)
    report = check_training(broken, beta=0.5, on_failure="report")
    assert not report.passed
    assert "The second call: train(" in report.message
    assert report.as_dict()["repeat_error"] is None


def test_a_gradient_of_zero_at_the_reference_is_named():
    """relu(-m) + log1p(exp(-|m|)) is right, but its usual derivative at m = 0 is 0: training never starts."""

    def stuck(pw, pl, rw, rl, *_):
        margin = 0.5 * (pw - rw - pl + rl)
        result = pb.dpo_loss(pw, pl, rw, rl, beta=0.5)
        gradients = {name: np.where(margin == 0.0, 0.0, g) for name, g in result.gradients.items()}
        return Loss(result.value, gradients)

    report = check_training(trainer(stuck), beta=0.5, on_failure="report")
    assert report.training_error == pytest.approx(1.0)
    assert "the gradient is zero where the policy is the reference" in report.message
    assert "TRL #1627" in report.message


def test_torch_trainer():
    """A PyTorch trainer, Adam on minibatches in float32, passes; its result still carries a gradient."""
    torch = pytest.importorskip("torch")

    def train(comparisons, reference_log_probs):
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.as_tensor(x) for x in comparisons)
        reference = torch.as_tensor(reference_log_probs, dtype=torch.float32)
        logits = reference.clone().requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.1)
        fading = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.99**step)
        for _ in range(600):
            batch = torch.randint(len(a), (1024,), generator=generator)
            ratio = torch.log_softmax(logits, 0) - reference
            loss = -torch.nn.functional.logsigmoid(0.5 * (ratio[a[batch]] - ratio[b[batch]])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            fading.step()
        return torch.log_softmax(logits, 0)

    report = check_training(train, loss="dpo", beta=0.5)
    assert report.fits[0].objective == "DPO"
