"""Verdicts that were wrong once: no gradient, batches that hide bugs, noise, names, messages; each with a control."""

import functools
from contextlib import suppress

import numpy as np
import pytest
from scipy.special import expit, logsumexp

from pbde_ref.catalogue import LOSSES, loss_named
from pbde_ref.catalogue.records import Outcome
from pbde_ref.oracle import CATALOGUE, check_loss, check_sequence_log_probs, iter_checks, run_check
from pbde_ref.oracle.calling.frameworks import FRAMEWORKS, Numpy
from pbde_ref.oracle.calling.preparation import conventions_of
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.checks import SIZES
from pbde_ref.oracle.diagnosis import NO_DIAGNOSIS, diagnose
from pbde_ref.oracle.known_bugs import NOT_SIGMOID, bugs_of
from pbde_ref.oracle.report import CheckResult, Report
from pbde_ref.oracle.tolerances import DTYPES, allowance, condition_numbers, rounded

FOUR = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")


def margin(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.3):
    return beta * (policy_chosen - reference_chosen - policy_rejected + reference_rejected)


def dpo(*four, beta=0.3):
    return np.logaddexp(0.0, -margin(*four, beta=beta)).mean()


def dpo_with_gradients(*four, beta=0.3):
    m = margin(*four, beta=beta)
    slope = -beta * expit(-m) / len(m)
    return np.logaddexp(0.0, -m).mean(), {"policy_chosen": slope, "policy_rejected": -slope}


def report_of(function, loss="dpo", **keywords):
    keywords = {"beta": 0.3, **keywords} if loss in ("dpo", "hinge") else keywords
    return check_loss(function, loss, on_failure="report", **keywords)


def failed(report):
    return [result.name for result in report.results if result.status == "failed"]


def status_of(report, name):
    return next(result.status for result in report.results if result.name == name)


def named(report, bug):
    entry = next(one for one in CATALOGUE if one.name == bug)
    return any(entry.says() in line for line in report.diagnoses)


# A check that held nothing never says "passed"


@pytest.mark.parametrize("kind", ["number", "tuple", "array", "detached"])
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_loss_without_a_gradient_fails(framework, kind):
    """A Python number, a tuple of them, or a detached array: every check of a gradient fails, and says why."""
    library = pytest.importorskip(framework)
    softplus = library.nn.functional.softplus if framework == "torch" else library.nn.softplus

    def right(a, b):
        return softplus(b - a).mean()

    def wrong(a, b):
        loss = right(a, b)
        if kind == "detached":
            return loss.detach() if framework == "torch" else library.lax.stop_gradient(loss)
        number = (loss.detach() if framework == "torch" else loss).item()
        return {"number": number, "tuple": (number, "metrics"), "array": np.float64(number)}[kind]

    report = report_of(wrong, "reward", framework=framework)
    gradients = {"gradient_chosen_rewards", "gradient_rejected_rewards", "batch_sizes", "zero_margin", "extreme_gaps"}
    assert gradients <= set(failed(report))
    assert named(report, "gradient identically zero")
    if kind != "detached":
        assert "it has no gradient" in str(report)
    # Its value is right, and can be held alone.
    assert report_of(wrong, "reward", framework=framework, gradients=False).passed
    assert report_of(right, "reward", framework=framework).passed


def test_a_framework_that_gives_no_gradient_back_passes_nothing(monkeypatch):
    """Comparing with nothing is a failure, whatever the reason."""

    class Silent(Numpy):
        differentiates = True

    monkeypatch.setitem(FRAMEWORKS, "numpy", Silent)
    report = report_of(dpo, framework="numpy")
    assert {"gradient_policy_chosen", "near_certain", "batch_sizes"} <= set(failed(report))
    assert "did not come back" in str(report)


def test_no_gradient_to_the_reference_is_not_held_where_there_is_none_at_all():
    """Zero everywhere does not show that the reference is left alone."""
    torch = pytest.importorskip("torch")

    def detached(*four):
        return -torch.nn.functional.logsigmoid(margin(*four)).mean().detach()

    report = report_of(detached, detached_reference=True)
    assert status_of(report, "no_gradient_to_reference") == "skipped"


def test_jax_arrays_cannot_be_changed():
    """So that the check which looks for it holds nothing."""
    jax = pytest.importorskip("jax")
    report = report_of(lambda a, b: jax.nn.softplus(b - a).mean(), "reward")
    assert status_of(report, "inputs_unmodified") == "skipped"


def test_a_report_that_held_nothing_has_not_passed():
    """Neither an empty one nor one whose checks were all skipped."""
    skipped = CheckResult("value", "skipped", "no reason")
    for results in ((), (skipped,)):
        report = Report("mine", "dpo", {}, results, "numpy", "float64")
        assert (report.held, report.passed) == (0, False)
    assert Report("mine", "dpo", {}, (skipped, CheckResult("swap", "passed")), "numpy", "float64").passed


def test_the_number_of_checks_can_be_pinned():
    """The report ends with it; another number is a failure that lists what was skipped."""
    report = report_of(dpo)
    assert report.held == sum(result.status == "passed" for result in report.results)
    assert str(report).splitlines()[-1] == (
        f"{report.held} of {len(report.results)} checks held something (pinned by expect_checks={report.held})"
    )
    assert report.as_dict()["held"] == report.held
    pinned = report_of(dpo, expect_checks=report.held)
    assert pinned.passed
    assert pinned.held == report.held
    wrong = report_of(dpo, expect_checks=report.held + 2)
    assert failed(wrong) == ["expect_checks"]
    assert "gradient_policy_chosen" in wrong.results[-1].message
    assert wrong.results[-1] == run_check("expect_checks", dpo, "dpo", beta=0.3, expect_checks=report.held + 2)
    assert list(iter_checks("dpo", expect_checks=3))[-1] == "expect_checks"
    held = check_sequence_log_probs(head, expect_checks=1, on_failure="report")
    assert failed(held) == ["expect_checks"]


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "17"])
def test_a_pinned_number_is_a_positive_whole_number(count):
    with pytest.raises((ValueError, TypeError), match=r"`expect_checks` must be (at least 1|a whole number)"):
        report_of(dpo, expect_checks=count)


# Diagnosis never raises


def declared_at_random(definition, rng):
    """Conventions that nobody chose."""
    words = {name: p.rule for name, p in definition.parameters.items() if isinstance(p.rule, tuple)}
    words["reduction"] = ("mean", "sum", "none")
    chosen = {}
    for name, hyperparameter in {**definition.parameters, "reduction": None}.items():
        if name in words:
            chosen[name] = str(rng.choice(words[name]))
        elif isinstance(hyperparameter.default, bool):
            chosen[name] = bool(rng.random() < 0.5)
        elif hyperparameter.rule in ("flip probability", "probability", "share"):
            chosen[name] = float(rng.choice([0.0, 0.1, 0.37] if hyperparameter.rule != "share" else [0.1, 0.37]))
        elif hyperparameter.default is not None:
            may_be_zero = hyperparameter.rule != "positive"
            chosen[name] = float(rng.choice([0.0, 0.5, 1.7])) if may_be_zero else float(np.exp(rng.normal()))
        else:
            chosen[name] = float(np.exp(rng.normal()))
    if "lambda_" in chosen and chosen["lambda_"] and chosen["reduction"] == "none":
        chosen["reduction"] = "sum"
    return conventions_of(definition, chosen, set())


def spoilt(outcome, rng):
    """Wrong in one of many ways."""
    value = np.array(outcome.value, dtype=np.float64)
    gradients = {name: np.array(gradient, dtype=np.float64) for name, gradient in outcome.gradients.items()}
    kind = rng.integers(8)
    if kind < 4:
        value = (value * rng.normal(), value + rng.normal(), value * np.nan, rng.normal(size=value.shape) * 1e300)[kind]
    elif kind == 4:
        value = np.where(rng.random(value.shape) < 0.5, np.inf, value)
    elif kind == 5:
        gradients = {name: g * rng.normal(size=g.shape) for name, g in gradients.items()}
    elif kind == 6:
        gradients = {name: np.where(rng.random(g.shape) < 0.3, np.nan, g) for name, g in gradients.items()}
    else:
        value, gradients = 2.0 * value, {}
    return Outcome(value, gradients)


@pytest.mark.parametrize("draws", [3, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LOSSES)
def test_diagnosis_never_raises(name, draws):
    """Random wrong results under random conventions, in every precision."""
    definition, rng = LOSSES[name], np.random.default_rng([7, *name.encode()])
    for _ in range(draws):
        conventions = declared_at_random(definition, rng)
        cases = {batch: Case(definition, arrays, conventions) for batch, arrays in definition.batches.items()}
        seen = {batch: (case, spoilt(case.expected(), rng)) for batch, case in cases.items()}
        case, computed = seen[str(rng.choice(list(seen)))]
        dtype = str(rng.choice(list(DTYPES)))
        found = diagnose(case, computed, dtype, [seen["generic"]], list(seen.values()))
        assert NO_DIAGNOSIS not in found, (conventions, dtype, found)


@pytest.mark.parametrize("draws", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LOSSES)
def test_wrong_functions_get_a_report(name, draws):
    """Also a hinge that no single bug explains, whose conventions belong to two losses."""
    definition, rng = LOSSES[name], np.random.default_rng([8, *name.encode()])
    for _ in range(draws):
        conventions = declared_at_random(definition, rng)
        names = [i.name for i in definition.inputs(conventions)]
        factor, power, known = rng.normal(), rng.uniform(0.5, 1.5), {}

        def wrong(*arrays, names=names, conventions=conventions, factor=factor, power=power, known=known):
            # The oracle makes the same call a hundred times.
            call = tuple((array.dtype, array.shape, array.tobytes()) for array in arrays)
            if call not in known:
                size = len(arrays[0])
                kept = {n: np.concatenate([v, v])[:size] for n, v in definition.batches["generic"].items()}
                case = Case(definition, {**kept, **dict(zip(names, arrays, strict=True))}, conventions)
                known[call] = factor * np.abs(case.expected().value) ** power + 0.01
            return np.array(known[call])

        report = report_of(wrong, name, **conventions)
        assert "value" in failed(report)
        assert NO_DIAGNOSIS not in str(report)


def test_a_fault_of_the_diagnosis_does_not_hide_the_verdict(monkeypatch):
    """Control of the two tests above: what raises inside is said, and the function still fails."""

    def broken(loss):
        raise KeyError("delta")

    monkeypatch.setattr("pbde_ref.oracle.diagnosis.bugs_of", broken)
    report = report_of(lambda *four: dpo(*four) + 0.01)
    assert "value" in failed(report)
    assert "looking for a diagnosis failed" in str(report)
    assert "KeyError" in str(report)


# Margin 0, batches of any size, noise


def test_a_gradient_that_vanishes_at_margin_zero_is_found():
    """Where the policy is its reference: relu(-m) + log1p(exp(-|m|)), whose derivative is 0 there."""

    def still(*four):
        value, gradients = dpo_with_gradients(*four)
        moves = margin(*four) != 0.0
        return value, {name: gradient * moves for name, gradient in gradients.items()}

    report = report_of(still, returns_gradients=True)
    assert failed(report) == ["zero_margin"]
    assert named(report, "gradient zero at margin 0")
    assert report_of(dpo_with_gradients, returns_gradients=True).passed


def test_a_gradient_that_vanishes_at_margin_zero_is_found_in_torch():
    torch = pytest.importorskip("torch")

    def still(*four):
        m = margin(*four)
        return (torch.relu(-m) + torch.log1p(torch.exp(-m.abs()))).mean()

    report = report_of(still)
    assert failed(report) == ["zero_margin"]
    assert named(report, "gradient zero at margin 0")


@pytest.mark.parametrize("size", SIZES)
def test_a_bug_at_one_size_of_batch_is_found(size):
    """Whichever of the sizes it is."""
    report = report_of(lambda *four: dpo(*four) * (1.001 if len(four[0]) == size else 1.0))
    assert "batch_sizes" in failed(report)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_batches_of_any_size_have_no_two_equal_examples(name, size):
    """And as many as asked for; equal ones would hide which of them counts."""
    definition = LOSSES[name]
    conventions = conventions_of(definition, {}, set(definition.parameters))
    case = Case(definition, definition.batches["generic"], conventions)
    grown = case.of_size(size)
    first = grown.arrays[grown.inputs[0].name]
    assert len(first) == grown.size == size
    assert len(np.unique(first.reshape(size, -1), axis=0)) == size


@pytest.mark.parametrize(
    ("wrong", "bug"),
    [
        (lambda each: np.mean([each[i : i + 2].mean() for i in range(0, len(each), 2)]), "mean of micro-batch means"),
        (lambda each: np.mean([each[i : i + 4].mean() for i in range(0, len(each), 4)]), "mean of micro-batch means"),
        (lambda each: each[: len(each) // 2 * 2 or 1].mean(), "odd batch loses its last row"),
        (lambda each: each[:64].mean(), "only the first rows count"),
        (lambda each: each[:32].sum() / len(each), "only the first rows count"),
        (lambda each: each.mean() / 8.0, "constant factor"),
        (lambda each: each.mean(), ""),
    ],
)
def test_wrong_reductions_are_named(wrong, bug):
    """Mean of micro-batch means, a lost last row, a first block, a division by steps; the mean itself passes."""
    report = report_of(lambda *four: wrong(np.logaddexp(0.0, -margin(*four))))
    assert report.passed == (not bug)
    assert not bug or named(report, bug)


def noisy(rng, rate):
    """Dropout in the reference: each entry dropped with this probability, the others scaled up."""

    def loss(policy_chosen, policy_rejected, *reference):
        dropped = [r * (rng.random(len(r)) >= rate) / (1.0 - rate) for r in reference]
        return dpo(policy_chosen, policy_rejected, *dropped)

    return loss


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_noise_is_called_noise(rate, seed):
    """Dropout in the reference is not state, however seldom it strikes."""
    report = report_of(noisy(np.random.default_rng(seed), rate))
    assert not report.passed
    assert named(report, "dropout or other noise")
    assert not named(report, "state")


@pytest.mark.parametrize("kind", ["remembered", "counter", "running mean", "toggle"])
def test_state_is_called_state(kind):
    """One call changes the next: once, a little each time, or to and fro."""
    memory = []

    def loss(*four):
        memory.append(float(np.mean(four[0])))
        offset = {
            "remembered": 1e-3 * (len(memory) > 1),
            "counter": 1e-3 * len(memory),
            "running mean": 1e-3 / len(memory),
            "toggle": 1e-3 * (len(memory) % 2),
        }[kind]
        return dpo(*four) + offset

    report = report_of(loss)
    assert "statelessness" in failed(report) or "repeatability" in failed(report)
    assert named(report, "state")
    assert not named(report, "dropout or other noise")


# Names


@pytest.mark.parametrize(
    ("function", "bug"),
    [
        (lambda pc, pr, rc, rr: np.logaddexp(0.0, -margin(pc[:, None], pr, rc[:, None], rr)).mean(),
         "margins broadcast to (B, B)"),
        (lambda pc, pr, rc, rr: np.logaddexp(0.0, -margin(pc, pr, rc[:, None], rr[:, None])).mean(),
         "margins broadcast to (B, B)"),
        (lambda *four: dpo(*four, beta=0.05), "bound to another value"),
        (lambda *four: dpo(*four) - 0.25 * four[0].mean(), "extra likelihood term"),
        (lambda *four: 0.5 * dpo(*four) - four[0].mean(), "extra likelihood term"),
        (lambda pc, pr, rc, rr: dpo(pc / 0.6, pr / 0.6, rc, rr), "temperature on the policy alone"),
        (lambda *four: np.log(1.0 + np.exp(-margin(*four))).mean(), "log(1 + exp(x)) formed directly"),
        (lambda *four: dpo(*four) / 6.0, "constant factor"),
    ],
)  # fmt: skip
def test_common_bugs_are_named(function, bug):
    report = report_of(function)
    assert not report.passed
    assert named(report, bug)


def test_what_was_bound_is_said():
    """The number that was found."""
    assert "here beta=0.05 instead of 0.3" in report_of(lambda *four: dpo(*four, beta=0.05)).diagnoses[0]
    assert "everything times 1/6" in report_of(lambda *four: dpo(*four) / 6.0).diagnoses[0]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_number_that_fits_one_batch_explains_nothing(reduction):
    """Control of the names with a number in them: a loss that is wrong in another way has none of them."""
    reduce = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction]
    report = report_of(lambda *four: reduce(np.sqrt(np.logaddexp(0.0, -margin(*four)) + 1.0)), reduction=reduction)
    assert not report.passed
    assert report.diagnoses == ()


def test_a_matrix_of_margins_is_named_by_its_shape():
    """Unreduced, it comes back as (B, B)."""
    report = report_of(lambda a, b: np.logaddexp(0.0, b[:, None] - a), "reward", reduction="none")
    assert failed(report) == ["call"]
    assert named(report, "margins broadcast to (B, B)")


def test_an_infinite_candidate_does_not_match_a_finite_number():
    """A clipped margin is no overflow."""
    report = report_of(lambda *four: np.logaddexp(0.0, -np.clip(margin(*four), -20.0, 20.0)).mean())
    assert "extreme_gaps" in failed(report)
    assert report.diagnoses == ()


def test_a_gradient_behind_an_untaken_branch_is_named():
    torch = pytest.importorskip("torch")

    def loss(*four):
        m = margin(*four)
        return torch.where(m > -30.0, torch.log1p(torch.exp(-m)), -m).mean()

    report = report_of(loss)
    assert "extreme_gaps" in failed(report)
    assert named(report, "gradient NaN")


@pytest.mark.parametrize("change", [lambda n: n + 1, lambda n: n - 1])
def test_a_length_off_by_one_is_named(change):
    def loss(pc, pr, chosen, rejected):
        return np.logaddexp(0.0, pr / change(rejected) - pc / change(chosen)).mean()

    assert named(report_of(loss, "simpo"), "length counted one off")


def test_every_formula_of_the_catalogue_can_be_computed():
    """On every fixed batch of every loss that it belongs to, or it says that it does not apply, as does a definition
    that has no value there.
    """
    rng = np.random.default_rng(3)
    computed = 0
    for name, definition in LOSSES.items():
        conventions = declared_at_random(definition, rng)
        for arrays in definition.batches.values():
            case = Case(definition, arrays, conventions)
            for bug in bugs_of(name):
                for formula in (bug.formula, *bug.variants):
                    outcome = None
                    with np.errstate(all="ignore"), suppress(ValueError):
                        outcome = formula(case, "float64")
                    computed += outcome is not None
                    assert outcome is None or set(outcome.gradients) <= {i.name for i in case.inputs}
    assert computed > 300


@pytest.mark.parametrize("value", [complex(0.5, 0.1), "0.5", np.array(["0.5"]), np.complex128(0.5)])
def test_what_is_not_a_real_number_is_no_loss(value):
    """An imaginary part would not be compared."""
    assert failed(report_of(lambda *four: value)) == ["call"]


# Messages


def message(function, loss="dpo", **keywords):
    """Why it could not be called, on one line."""
    report = report_of(function, loss, **keywords)
    assert failed(report) == ["call"]
    return " ".join(report.results[0].message.split())


def test_a_hyperparameter_in_an_arrays_place_is_not_called():
    """It would take lengths for beta without a word."""
    calls = []

    def simpo(policy_chosen, policy_rejected, beta, gamma_beta_ratio):
        calls.append(beta)
        return np.logaddexp(0.0, beta * (policy_rejected - policy_chosen + gamma_beta_ratio)).mean()

    says = message(simpo, "simpo")
    assert "its argument 'beta' stands where the array chosen_lengths is passed" in says
    assert "wrap yours: lambda policy_chosen, policy_rejected, chosen_lengths, rejected_lengths" in says
    assert calls == []


def test_an_array_may_have_a_hyperparameters_name():
    """A margin for each pair is an array."""

    def loss(chosen, rejected, margin):
        return np.logaddexp(0.0, rejected - chosen + margin).mean()

    assert report_of(loss, "reward", margin="per_example").passed


def test_an_unknown_hyperparameter_is_named():
    def simpo(pc, pr, chosen_lengths, rejected_lengths, *, beta, gamma_beta_ratio):
        return np.logaddexp(
            0.0, -beta * (pc / chosen_lengths - pr / rejected_lengths - gamma_beta_ratio)
        ).mean()

    says = message(simpo, "simpo")
    assert "it demands gamma_beta_ratio, which length_normalized does not have (scale, margin)" in says
    assert "functools.partial(simpo, gamma_beta_ratio=...)" in says
    assert report_of(functools.partial(simpo, gamma_beta_ratio=0.25), "simpo", scale=2.0, margin=0.5).results[3].name


def test_a_loss_of_the_policy_alone():
    """Two arrays: the message says what to declare, and so declared it is checked."""

    def reference_free(policy_chosen, policy_rejected, beta=0.3):
        return np.logaddexp(0.0, beta * (policy_rejected - policy_chosen)).mean()

    assert "declare reference_free=True" in message(reference_free)
    report = report_of(reference_free, reference_free=True)
    assert report.passed
    assert "reference_free=True" in str(report)
    assert "hyperparameters_used" in [r.name for r in report.results if r.status == "passed"]
    assert not report_of(lambda a, b: reference_free(b, a), reference_free=True).passed


@pytest.mark.parametrize(
    ("loss", "declared", "formula"),
    [
        ("hinge", {"beta": 0.3}, lambda m: np.maximum(0.0, 1.0 - 0.3 * m)),
        ("rso", {"delta": 1.5}, lambda m: np.maximum(0.0, 1.5 - m)),
        ("ipo", {"tau": 0.4}, lambda m: (m - 1.25) ** 2),
    ],
)
def test_other_losses_without_reference(loss, declared, formula):
    report = report_of(lambda a, b: formula(a - b).mean(), loss, **declared, reference_free=True)
    assert report.passed


def test_losses_of_single_pairs_are_told_what_to_pass():
    says = message(lambda *four: np.logaddexp(0.0, -margin(*four)))
    assert "pass reduction='none'" in says


def test_a_class_is_not_a_loss():
    class Loss:
        def __call__(self, *four):
            return dpo(*four)

    with pytest.raises(TypeError, match=r"got the class Loss, so pass Loss\(\.\.\.\)"):
        report_of(Loss)
    assert report_of(Loss()).passed


def test_mere_arithmetic_is_offered_a_framework():
    """It runs with NumPy arrays, and the report says how its gradients can be had."""

    def ipo(pc, pr, rc, rr):
        return ((pc - rc - pr + rr - 1.25) ** 2).mean()

    report = report_of(ipo, "ipo", tau=0.4)
    assert status_of(report, "gradient_policy_chosen") == "skipped"
    assert "framework='torch'" in " ".join(str(report).split())
    pytest.importorskip("torch")
    assert status_of(report_of(ipo, "ipo", tau=0.4, framework="torch"), "gradient_policy_chosen") == "passed"


@pytest.mark.parametrize("reduction", ["", 0, False, "Mean"])
def test_a_wrong_reduction_is_refused(reduction):
    """A false value is not "mean"."""
    with pytest.raises(ValueError, match="`reduction` must be"):
        report_of(dpo, reduction=reduction)


# Tolerances


def head(logits, labels, mask):
    """Sums of token log-probabilities, logit minus logsumexp, in the logits' own precision."""
    z, labels, counted = logits[:, :-1], labels[:, 1:], mask[:, 1:] != 0
    own = np.take_along_axis(z, labels[..., None], -1)[..., 0]
    largest = z.max(-1)
    normalizer = largest + np.log(np.exp(z - largest[..., None]).sum(-1))
    return np.where(counted, own - normalizer, 0).sum(-1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_an_honest_head_passes_in_its_precision(dtype):
    """The logarithm of the sum is rounded to its own size, and the tolerance knows."""
    assert check_sequence_log_probs(head, dtype=dtype, on_failure="report").passed


def test_what_rounding_the_normalizer_costs_is_allowed_and_no_more():
    """float32 of numbers at 27: one rounding of 2^-24 times the size at each token, beside exact arithmetic."""
    from pbde_ref.oracle.sequences import SEQUENCE_LOG_PROBS, sequence_mask

    conventions = {"average": False, "shift": True, "layout": "mask", "reduction": "none", "temperature": 1.0}
    case = Case(SEQUENCE_LOG_PROBS, SEQUENCE_LOG_PROBS.batches["near_certain"], conventions)
    logits = rounded(case.arrays["logits"], "float32")
    case = case.with_arrays(logits=logits)
    normalizers = np.where(sequence_mask(case.arrays)[:, 1:], logsumexp(logits[:, :-1], axis=-1), 0.0)
    bound = 2.0**-24 * np.abs(normalizers).sum(axis=1)
    assert bound.max() > 5e-6
    allowed = allowance(case, "float32").value
    assert np.all(allowed > bound)
    assert np.all(allowed < bound + 1.1e-6 + 2e-6 * np.abs(case.expected().value) + 1e-4 * bound)


def test_a_head_that_forgets_a_little_still_fails_in_float32():
    """Control: three times what rounding explains is a failure."""

    def off(logits, labels, mask):
        return head(logits, labels, mask) + np.float32(3e-5)

    assert "float32" in failed(check_sequence_log_probs(off, on_failure="report"))


def test_a_message_has_the_condition_number():
    """A difference of large numbers: relative errors are magnified a thousand times."""
    report = report_of(lambda *four: 1.01 * dpo(*four))
    assert "(condition number " in report.results[4].message
    definition = loss_named("reward")
    arrays = {"chosen_rewards": np.array([1000.5]), "rejected_rewards": np.array([1000.0])}
    case = Case(definition, arrays, {"margin": 0.0, "reduction": "mean"})
    exact = (1000.5 + 1000.0) * expit(-0.5) / np.logaddexp(0.0, -0.5)
    assert float(condition_numbers(case, "", "float32")) == pytest.approx(exact, rel=1e-3)


# Half precision and returned rewards


@pytest.mark.parametrize(
    ("number", "nearest"), [(1.0, 1.0), (1.00048828125, 1.0), (1.0005, 1.0009765625), (-10007.1, -10008.0)]
)
def test_rounding_to_float16(number, nearest):
    """Eleven binary digits, ties to even."""
    assert rounded(np.array([number]), "float16")[0] == nearest


def test_float16_can_be_declared():
    """A right loss passes, a wrong one fails, and what is beyond its largest number is not held."""
    assert report_of(dpo, dtype="float16").passed
    assert not report_of(lambda *four: dpo(*four, beta=0.31), dtype="float16").passed


def test_what_float16_does_not_have_is_not_held():
    """A sum of squares beyond 65504: skipped, whatever comes; in float64 it is held."""

    def ipo(*four, factor=1.0):
        with np.errstate(over="ignore"):
            squares = (margin(*four, beta=1.0) - 1000.0) ** 2
            return np.where(squares > 40000.0, factor, 1.0).astype(squares.dtype) @ squares

    for factor in (1.0, 2.0):
        wrong = functools.partial(ipo, factor=factor)
        half = report_of(wrong, "ipo", tau=0.0005, dtype="float16", reduction="sum")
        assert status_of(half, "extreme_gaps") == "skipped"
        assert "beyond the numbers of float16" in " ".join(str(half).split())
        double = report_of(wrong, "ipo", tau=0.0005, reduction="sum")
        assert ("extreme_gaps" in failed(double)) == (factor == 2.0)


def with_rewards(*four, beta=0.3):
    chosen, rejected = (beta * (four[i] - four[i + 2]) for i in (0, 1))
    return dpo(*four, beta=beta), chosen, rejected


def test_returned_rewards_are_held_or_noted():
    """Undeclared, the report says that nobody looked."""
    silent = report_of(with_rewards)
    assert silent.passed
    assert "2 further results beside the loss" in silent.notes[0]
    assert "Not looked at" in str(silent)
    assert silent.as_dict()["notes"] == list(silent.notes)
    held = report_of(with_rewards, returns_rewards=True)
    assert held.passed
    assert held.held == silent.held + 1
    assert held.notes == ()
    assert report_of(dpo).notes == ()


def test_wrong_rewards_fail():
    """Exchanged, unscaled, missing, or of another shape."""

    def exchanged(*four):
        loss, chosen, rejected = with_rewards(*four)
        return loss, rejected, chosen

    report = report_of(exchanged, returns_rewards=True)
    assert failed(report) == ["rewards"]
    assert named(report, "returned rewards exchanged")
    unscaled = report_of(lambda *four: (dpo(*four), four[0] - four[2], four[1] - four[3]), returns_rewards=True)
    assert failed(unscaled) == ["rewards"]
    assert unscaled.diagnoses == ()
    for result in (lambda *four: dpo(*four), lambda *four: (dpo(*four), 1.0, 2.0), lambda *four: (dpo(*four), "x")):
        missing = report_of(result, returns_rewards=True)
        assert failed(missing) == ["rewards"]
        assert "no rewards came beside the loss" in str(missing)
    with pytest.raises(TypeError, match="'rrhf' has no rewards"):
        report_of(lambda *arrays: 0.0, "rrhf", returns_rewards=True)


def test_rewards_in_a_mapping():
    """As logged by a trainer, behind the gradients where these come too."""

    def loss(*four):
        _, chosen, rejected = with_rewards(*four)
        value, gradients = dpo_with_gradients(*four)
        return value, gradients, {"rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": 0.0}

    assert report_of(loss, returns_rewards=True, returns_gradients=True).passed


@pytest.mark.parametrize("name", [name for name, definition in LOSSES.items() if definition.margins])
def test_rewards_of_the_definition_make_the_margin(name):
    """The margin is their difference, less the declared gamma."""
    definition = LOSSES[name]
    conventions = conventions_of(definition, {}, set(definition.parameters))
    case = Case(definition, definition.batches["generic"], conventions)
    chosen, rejected = case.rewards()
    np.testing.assert_allclose(chosen - rejected - conventions.get("margin", 0.0), case.margins().values, rtol=1e-12)


@pytest.mark.parametrize(
    "per_pair",
    [
        lambda x: np.logaddexp(0.0, x) + np.where(x > 20.0, 1e-4, 0.0),
        lambda x: np.minimum(np.logaddexp(0.0, x), 512.0),
    ],
    ids=["1e-4 too much where a margin is wrong", "at most 512"],
)
def test_what_is_wrong_on_single_extreme_pairs_is_not_lost_in_a_mean(per_pair):
    """A mean of losses of thousands hides 1e-4, and one pair's loss hides beside another's."""
    report = report_of(lambda *four: per_pair(-margin(*four)).mean())
    assert "extreme_gaps" in failed(report)
    control = report_of(lambda *four: np.logaddexp(0.0, -margin(*four)).mean())
    assert control.passed


@pytest.mark.parametrize("factor", [1.0 + 1e-6, 1.0 - 1e-6, float(np.float32(0.3)) / 0.3])
def test_lost_digits_are_no_bug_with_a_name(factor):
    """They were "beta=0.3 instead of 0.3", and everything times 0.99999988."""

    def dpo(pc, pr, rc, rr, beta=0.3):
        return np.mean(np.logaddexp(0.0, -factor * beta * (pc - pr - rc + rr)))

    report = check_loss(dpo, "dpo", beta=0.3, gradients=False, on_failure="report")
    assert not report.passed
    assert report.diagnoses == ()


@pytest.mark.parametrize("loss", NOT_SIGMOID)
def test_whoever_ignores_the_loss_type_is_told(loss):
    """LLaMA-Factory 0.9.5 trained the sigmoid loss under three other names."""
    declared = {name: p.generic for name, p in LOSSES[loss].parameters.items() if p.default is None}
    beta = 1.0 / declared["delta"] if "delta" in declared else declared.get("beta", declared.get("tau"))

    def sigmoid(pc, pr, rc, rr, *_):
        return np.mean(np.logaddexp(0.0, -beta * (pc - pr - rc + rr)))

    report = check_loss(sigmoid, loss, **declared, gradients=False, framework="numpy", on_failure="report")
    assert not report.passed
    assert any("loss type ignored" in line for line in report.diagnoses), report.diagnoses
