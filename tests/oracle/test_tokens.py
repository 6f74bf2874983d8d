"""The oracle at the level of tokens: what once passed is found and named, right code of any style passes."""

import math

import numpy as np
import pytest
from mpmath import mp, mpf

from pbde_ref.oracle import (
    LossCheckError,
    check_sequence_log_probs,
    check_sequence_rewards,
    iter_checks,
    masks,
    rewards,
    run_check,
)
from pbde_ref.oracle.calling.subjects import rounded_case
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.sequences import SEQUENCE_LOG_PROBS, sequence_arrays, sequence_mask


def failed(report):
    return {result.name for result in report.results if result.status == "failed"}


def message_of(report, name):
    return next(result.message for result in report.results if result.name == name)


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def tokens_of(logits, labels):
    """Log-probabilities of labels[:, 1:]."""
    return np.take_along_axis(log_softmax(logits[:, :-1]), labels[:, 1:, None], -1)[..., 0]


def summed(tokens, counted):
    return np.where(counted, tokens, 0.0).sum(-1)


def averaged(tokens, counted):
    return summed(tokens, counted) / np.maximum(counted.sum(-1), 1)


def case_of(batch="generic", **conventions):
    declared = {"average": False, "shift": True, "temperature": 1.0, "layout": "mask", "reduction": "none"}
    return Case(SEQUENCE_LOG_PROBS, SEQUENCE_LOG_PROBS.batches[batch], {**declared, **conventions})


# What is right, by plain loops at 50 digits


def by_loops(case):
    """Value and gradient of each sequence, from nothing but the words of the definition."""
    a, c = case.arrays, case.conventions
    values, gradients = [], np.zeros(a["logits"].shape)
    for b, labels in enumerate(a["labels"]):
        counted = [t for t in range(len(labels)) if t >= a["prompt_lengths"][b] and a["attention_mask"][b, t]
                   and not a["gaps"][b, t] and (t > 0 or not c["shift"])]  # fmt: skip
        total = mpf(0)
        for t in counted:
            place = t - 1 if c["shift"] else t
            z = [mpf(float(x)) / mpf(c["temperature"]) for x in a["logits"][b, place]]
            weights = [mp.exp(x) for x in z]
            total += z[labels[t]] - mp.log(sum(weights))
            for v, weight in enumerate(weights):
                slope = ((v == labels[t]) - weight / sum(weights)) / mpf(c["temperature"])
                gradients[b, place, v] += float(slope / (len(counted) if c["average"] else 1))
        values.append(float(total / (max(len(counted), 1) if c["average"] else 1)))
    return np.array(values), gradients


def drawn(seed):
    """A batch that nobody chose: any padding, any prompts, gaps, sequences without completion."""
    rng = np.random.default_rng(seed)
    size, width, vocabulary = rng.integers(1, 5), rng.integers(2, 7), rng.integers(2, 6)
    batch = sequence_arrays(
        rng.normal(0.0, 10.0 ** rng.uniform(-2, 2), (size, width, vocabulary)),
        rng.integers(0, vocabulary, (size, width)), rng.integers(0, 2, (size, width)),
        rng.integers(0, width + 1, size), rng.random((size, width)) < 0.3,
    )  # fmt: skip
    return batch, float(10.0 ** rng.uniform(-0.5, 0.5))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("shift", [False, True])
def test_the_definition_is_what_plain_loops_say(seed, average, shift):
    """Whatever padding, prompts, gaps, temperature and sizes are."""
    batch, temperature = drawn(seed)
    conventions = {"average": average, "shift": shift, "temperature": temperature}
    with mp.workdps(50):
        value, gradient = by_loops(Case(SEQUENCE_LOG_PROBS, batch, conventions))
    found = Case(SEQUENCE_LOG_PROBS, batch, conventions).expected()
    np.testing.assert_allclose(found.value, value, rtol=1e-11, atol=1e-300, err_msg=f"seed {seed}")
    np.testing.assert_allclose(found.gradients["logits"], gradient, rtol=1e-11, atol=1e-16, err_msg=f"seed {seed}")


@pytest.mark.parametrize("name", masks.SITUATIONS)
@pytest.mark.parametrize("shift", [False, True])
def test_situations_are_what_they_are_called(name, shift):
    """Each has what its name says, in the precision of each type; the definition is finite there and known by loops."""
    generic = case_of(shift=shift, average=True)
    case = masks.SITUATIONS[name][1](generic)
    mask, attended = sequence_mask(case.arrays), case.arrays["attention_mask"] != 0
    holds = {
        "completion_at_start": mask[:, 0].any() and not mask[:, 0].all(),
        "left_padding": (~attended[:, 0]).any() and (~attended[:, -1] & ~attended[:, 0]).any(),
        "several_turns": any("01" in "".join("01"[int(m)] for m in row).lstrip("0") for row in mask),
        "end_pads": all(row[m][-1] == 0 and set(row[~a]) <= {0} and row[0] == 0
                        for row, m, a in zip(case.arrays["labels"], mask, attended, strict=True)),
        "masked_infinities": np.isneginf(case.arrays["logits"]).any(axis=(1, 2)).all(),
    }  # fmt: skip
    assert holds[name]
    assert mask.any(axis=1).all()
    with mp.workdps(50):
        value, gradient = by_loops(case)
    found = case.expected()
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    np.testing.assert_allclose(found.gradients["logits"], gradient, rtol=1e-12, atol=1e-16)
    for dtype in ("float32", "bfloat16", "float16"):
        assert np.isfinite(rounded_case(case, dtype).expected().value).all()


# Right code


def by_mask(logits, labels, mask):
    return summed(tokens_of(logits, labels), mask[:, 1:] != 0)


def by_labels(logits, labels):
    return averaged(tokens_of(logits, np.where(labels < 0, 0, labels)), labels[:, 1:] >= 0)


def by_lengths(logits, labels, attention_mask, prompt_lengths):
    counted = (np.arange(labels.shape[1]) >= prompt_lengths[:, None]) & (attention_mask != 0)
    return summed(tokens_of(logits, labels), counted[:, 1:])


def by_rows(logits, labels, mask):
    return np.array([sum(log_softmax(z)[t - 1, y[t]] for t in range(1, len(y)) if m[t])
                     for z, y, m in zip(logits, labels, mask, strict=True)])  # fmt: skip


def rolled(logits, labels, mask):
    counted = np.roll(mask != 0, -1, axis=1)
    counted[:, -1] = False
    return summed(np.take_along_axis(log_softmax(logits), np.roll(labels, -1, axis=1)[..., None], -1)[..., 0], counted)


def refusing(logits, labels, mask):
    """Means, refused where there is nothing to average."""
    counted = mask[:, 1:] != 0
    if not counted.any(axis=1).all():
        raise ValueError("a sequence without completion")
    return averaged(tokens_of(logits, labels), counted)


def hot(logits, labels, mask, temperature):
    return by_mask(logits / temperature, labels, mask)


def strict(logits, labels, mask):
    if mask.dtype != np.bool_:
        raise TypeError("the mask must be bool")
    return by_mask(logits, labels, mask)


@pytest.mark.parametrize(
    ("function", "declared"),
    [
        (by_mask, {}), (by_labels, {"layout": "labels", "average": True}), (by_lengths, {"layout": "lengths"}),
        (by_rows, {}), (rolled, {}), (refusing, {"average": True}), (hot, {}), (hot, {"temperature": 0.35}),
        (strict, {}), (lambda z, y, m: hot(z, y, m, 3.0), {"temperature": 3.0}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_right_code_of_any_style_passes(function, declared, dtype):
    """No false alarm."""
    report = check_sequence_log_probs(function, **declared, dtype=dtype, framework="numpy", on_failure="report")
    assert report.passed, str(report)


def test_what_is_not_checked_is_said():
    """The mean over no tokens, gaps where the layout has none, and masks that the function refuses."""
    report = check_sequence_log_probs(by_labels, layout="labels", average=True)
    assert "a mean over no tokens is not defined, so it was not compared; the function gives 0.0" in message_of(
        report, "empty_mean"
    )
    assert "refuses a sequence without completion" in message_of(
        check_sequence_log_probs(refusing, average=True), "empty_mean"
    )
    assert "cannot say that a completion has gaps" in message_of(
        check_sequence_log_probs(by_lengths, layout="lengths"), "several_turns"
    )
    assert "int64 (TypeError), float32 (TypeError)" in message_of(check_sequence_log_probs(strict), "mask_types")


# Blind spots


def wrapping(logits, labels, mask):
    tokens = np.take_along_axis(log_softmax(logits), np.roll(labels, -1, axis=1)[..., None], -1)[..., 0]
    return summed(tokens, np.roll(mask != 0, -1, axis=1))


def filled(logits, labels, mask):
    counted = (mask != 0)[:, 1:]
    counted = np.logical_or.accumulate(counted, 1) & np.logical_or.accumulate(counted[:, ::-1], 1)[:, ::-1]
    return summed(tokens_of(logits, labels), counted)


def right_padded(logits, labels, attention_mask, prompt_lengths):
    places, ends = np.arange(labels.shape[1]), attention_mask.astype(int).sum(-1)
    return summed(tokens_of(logits, labels), ((places >= prompt_lengths[:, None]) & (places < ends[:, None]))[:, 1:])


def multiplied(logits, labels, mask):
    with np.errstate(invalid="ignore"):
        return (tokens_of(logits, labels) * (mask[:, 1:] != 0)).sum(-1)


def divided_by_zero(logits, labels, mask):
    counted = mask[:, 1:] != 0
    with np.errstate(invalid="ignore"):
        return summed(tokens_of(logits, labels), counted) / counted.sum(-1)


def counting_the_first(logits, labels, mask):
    return summed(tokens_of(logits, labels), mask[:, 1:] != 0) / np.maximum((mask != 0).sum(-1), 1)


def inverting_bits(logits, labels, mask):
    return np.where(~mask[:, 1:] != 0, 0.0, tokens_of(logits, labels)).sum(-1)


def odd_batches_lose(logits, labels, mask):
    result = by_mask(logits, labels, mask)
    result[len(result) - len(result) % 2 :] = 0.0
    return result


@pytest.mark.parametrize(
    ("function", "declared", "checks", "name"),
    [
        (wrapping, {}, {"completion_at_start"}, "the shift wraps around"),
        (filled, {}, {"several_turns"}, "gaps of the mask filled"),
        (right_padded, {"layout": "lengths"}, {"left_padding"}, "right padding assumed"),
        (multiplied, {}, {"masked_infinities"}, "-inf · 0 where the mask is 0"),
        (divided_by_zero, {"average": True}, {"empty_completion"}, "0/0 without completion"),
        (counting_the_first, {"average": True}, {"completion_at_start"}, "counts from the unshifted mask"),
        (inverting_bits, {}, {"mask_types"}, "mask read by its type"),
        (odd_batches_lose, {}, {"batch_independence", "batch_sizes"}, None),
    ],
)
def test_blind_spots_are_closed(function, declared, checks, name):
    """What every other check lets pass fails the one that is meant for it, by name; declared as known, all is well."""
    report = check_sequence_log_probs(function, **declared, framework="numpy", on_failure="report")
    assert failed(report) == checks
    assert name is None or f"matches a known bug: {name}" in report.diagnoses[0]
    known = dict.fromkeys(checks, "as it is")
    assert check_sequence_log_probs(function, **declared, framework="numpy", expected_failed_checks=known).passed


def test_impossible_tokens_can_be_pasted():
    """The call in the message is Python, infinities included, and gives what the message says."""
    report = check_sequence_log_probs(multiplied, on_failure="report")
    call = message_of(report, "masked_infinities").split("\n\n")[1]
    assert "-float('inf')" in call
    assert np.isnan(eval(call, {"np": np, "multiplied": multiplied})).any()


def test_a_gradient_that_infinities_poison_is_found():
    """PyTorch: the value is rescued by `where`, the gradient of the branch not taken is not."""
    torch = pytest.importorskip("torch")

    def poisoned(logits, labels, mask):
        log_probs = torch.log(torch.softmax(logits[:, :-1], -1))
        tokens = log_probs.gather(-1, labels[:, 1:, None])[..., 0]
        return torch.where(mask[:, 1:].bool(), tokens, torch.zeros_like(tokens)).sum(-1)

    report = check_sequence_log_probs(poisoned, on_failure="report")
    assert "the gradient with respect to logits" in message_of(report, "masked_infinities")


# Numbers that nobody declared


def with_tokens(change):
    return lambda logits, labels, mask: summed(change(tokens_of(logits, labels)), mask[:, 1:] != 0)


def three_digits(seed, low, high):
    return float(f"{np.exp(np.random.default_rng(seed).uniform(math.log(low), math.log(high))):.3g}")


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
@pytest.mark.parametrize(
    ("name", "low", "high", "bug"),
    [
        ("temperature", 0.2, 5.0, lambda x: lambda z, y, m: by_mask(z / x, y, m)),
        ("clamped logits", 5.0, 500.0, lambda x: lambda z, y, m: by_mask(np.clip(z, -x, x), y, m)),
        ("capped logits", 5.0, 500.0, lambda x: lambda z, y, m: by_mask(x * np.tanh(z / x), y, m)),
        ("clamped log-probabilities", 5.0, 500.0, lambda x: with_tokens(lambda t: np.maximum(t, -x))),
        ("epsilon in the logarithm", 1e-12, 1e-3, lambda x: with_tokens(lambda t: np.log(np.exp(t) + x))),
    ],
)
def test_a_number_that_nobody_declared_is_found(name, low, high, bug, seed):
    """To all of its digits."""
    number = three_digits(seed, low, high)
    results = (run_check(check, bug(number), "sequence_log_probs") for check in iter_checks("sequence_log_probs"))
    # The first check that says so is enough: the others would look for the same number again.
    said = next((result.diagnosis for result in results if f"matches a known bug: {name}" in result.diagnosis), "")
    assert f"{number:g}" in next(line for line in said.splitlines() if name in line), number


def test_no_number_is_made_up():
    """What none of these formulas gives is not explained by one."""
    report = check_sequence_log_probs(lambda z, y, m: by_mask(z + 0.1 * z**2, y, m), on_failure="report")
    assert not report.passed
    assert report.diagnoses == ()


def test_a_temperature_that_is_taken_and_ignored_is_named():
    """The keyword is varied."""
    report = check_sequence_log_probs(lambda z, y, m, temperature=1.0: by_mask(z, y, m), on_failure="report")
    assert failed(report) == {"hyperparameters_used"}
    assert "temperature ignored" in report.diagnoses[0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_are_positive(temperature):
    with pytest.raises(ValueError, match="`temperature` must be"):
        check_sequence_log_probs(by_mask, temperature=temperature)


# Where a reward is read


def last_of(mask):
    return np.array([max(t for t, m in enumerate(row) if m) for row in mask])


def at(scores, places):
    return scores[np.arange(len(scores)), places]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(
    "function",
    [
        lambda scores, mask: at(scores, last_of(mask)),
        lambda scores, mask: at(scores, scores.shape[1] - 1 - np.argmax(mask[:, ::-1] != 0, axis=1)),
        lambda scores, mask: np.where(np.arange(scores.shape[1]) == last_of(mask)[:, None], scores, 0.0).sum(-1),
    ],
)
def test_rewards_read_at_the_last_token_pass(function, dtype):
    assert check_sequence_rewards(function, dtype=dtype, framework="numpy").passed


@pytest.mark.parametrize("seed", range(5))
def test_the_rewards_definition_is_what_loops_say(seed):
    """Any mask with a token in each row, any size."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2, (rng.integers(1, 6), 8))
    mask[np.arange(len(mask)), rng.integers(0, 8, len(mask))] = 1
    scores = rng.normal(size=mask.shape)
    outcome = Case(rewards.SEQUENCE_REWARDS, {"scores": scores, "mask": mask}, {}).expected()
    assert outcome.value.tolist() == [scores[b, t] for b, t in enumerate(last_of(mask))]
    assert np.argwhere(outcome.gradients["scores"]).tolist() == [[b, t] for b, t in enumerate(last_of(mask))]


@pytest.mark.parametrize(
    ("function", "checks", "name"),
    [
        (lambda s, m: at(s, np.minimum(last_of(m) + 1, 7)), {"value"}, "reward read one token late (gpt-neox #1285)"),
        (lambda s, m: at(s, last_of(m) - 1), {"value"}, "reward read one token early"),
        (lambda s, m: s[:, -1], {"value"}, "reward read at the last position"),
        (lambda s, m: at(s, (m != 0).sum(1) - 1), {"left_padding"}, "reward read where the mask's sum points"),
        (lambda s, m: at(s, np.argmin(m != 0, axis=1) - 1), {"left_padding"}, "reward read before the first 0"),
        (lambda s, m: (s * (np.arange(8) == last_of(m)[:, None])).sum(1), {"masked_infinities"}, "-inf · 0 at padding"),
        (lambda s, m: (np.where(m != 0, s, 0.0)).sum(1), {"value"}, "rewards summed over the tokens"),
        (lambda s, m: -at(s, last_of(m)), {"value"}, "sign inverted"),
    ],
)
def test_rewards_read_elsewhere_are_found_and_named(function, checks, name):
    report = check_sequence_rewards(function, on_failure="report")
    assert checks <= failed(report)
    assert name in report.diagnoses[0]
    with pytest.raises(LossCheckError, match="matches a known bug"):
        check_sequence_rewards(function)


def test_rewards_by_the_names_of_checks():
    """As for losses: listed, run one by one, counted, refused."""
    names = list(iter_checks("sequence_rewards"))
    assert {"call", "value", "gradient_scores", "left_padding", "single_tokens", "batch_sizes"} <= set(names)
    assert run_check("left_padding", lambda s, m: s[:, -1], "sequence_rewards").status == "failed"
    held = check_sequence_rewards(lambda s, m: at(s, last_of(m))).held
    assert check_sequence_rewards(lambda s, m: at(s, last_of(m)), expect_checks=held).passed
    with pytest.raises(ValueError, match="`dtype` must be 'float64', "):
        check_sequence_rewards(lambda s, m: s[:, 0], dtype="float8")


def test_rewards_in_torch():
    """Gradients are held too: a detached score is no reward."""
    torch = pytest.importorskip("torch")

    def read(scores, mask):
        last = mask.shape[1] - 1 - (mask != 0).flip(1).int().argmax(1)
        return scores.gather(1, last[:, None])[:, 0] + 0 * torch.sum(scores[:, :0])

    assert check_sequence_rewards(read, framework="torch").passed
    detached = check_sequence_rewards(lambda s, m: read(s.detach(), m), framework="torch", on_failure="report")
    assert "gradient_scores" in failed(detached)


def test_a_mean_that_is_wrong_for_a_single_token_alone_is_found():
    def mean_of(least):
        def mine(logits, labels, mask):
            counted = mask[:, 1:] != 0
            return summed(tokens_of(logits, labels), counted) / np.maximum(counted.sum(-1), least)

        return mine

    wrong = check_sequence_log_probs(mean_of(2), average=True, on_failure="report")
    assert failed(wrong) == {"average"}
    assert "the mean over a single token" in message_of(wrong, "average")
    assert "average" not in failed(check_sequence_log_probs(mean_of(1), average=True, on_failure="report"))
