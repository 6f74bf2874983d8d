"""The oracle: finds and names every bug of its catalogue, raises no false alarm, and says what is wrong."""

import functools
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from pbde_ref.catalogue import LOSSES
from pbde_ref.oracle import (
    CATALOGUE,
    CONVENTIONS,
    LossCheckError,
    Report,
    check_loss,
    check_sequence_log_probs,
    iter_checks,
    run_check,
)
from pbde_ref.oracle.calling.frameworks import Given, framework_named
from pbde_ref.oracle.calling.preparation import conventions_of
from pbde_ref.oracle.calling.recognition import mentioned_frameworks
from pbde_ref.oracle.cases import Case, of_margins
from pbde_ref.oracle.selftest.sources import CORRECT, Subject, build
from pbde_ref.oracle.sequences import SEQUENCE_LOG_PROBS
from pbde_ref.oracle.tolerances import rounded
from pbde_ref.processes import process_pool
from tests.oracle.selftest import tables
from tests.oracle.selftest.mutants import KNOWN, UNKNOWN
from tests.oracle.selftest.reductions import reports
from tests.oracle.selftest.tables import false_alarm_table, false_alarms, kill_table, kills

FRAMEWORKS = [
    "numpy",
    *(
        pytest.param(
            name,
            marks=[
                pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed"),
                pytest.mark.slow,
            ],
        )
        for name in ("torch", "jax")
    ),
]

# Rounding one input to float32 is within the tolerance that float64 has, unless gradients are looked at.
WITHIN_TOLERANCE = {("numpy", "to_single(policy_rejected) - detach(reference_rejected)")}


def dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.3):
    return np.logaddexp(0.0, -beta * (policy_chosen - reference_chosen - policy_rejected + reference_rejected)).mean()


def failed(report):
    return [result.name for result in report.results if result.status == "failed"]


def message_of(report, name):
    return next(result.message for result in report.results if result.name == name)


# Killing bugs

# Every run takes a share of what is planted, the thorough one all of it. Of right ones it takes the first of each loss,
# in one of five combinations of reduction and precision: as there are six, each loss is there.
SHARES = [pytest.param(24, id="one in 24"), pytest.param(1, id="all", marks=pytest.mark.slow)]
FIRST = list({subject.loss: subject for subject in reversed(CORRECT)}.values())
RIGHT = [pytest.param(True, id="each loss"), pytest.param(False, id="all", marks=pytest.mark.slow)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_planted_bug_is_found_and_named(framework, share):
    """Each bug of the catalogue, and each undeclared convention, makes a check fail, and the diagnosis has its name."""
    found = list(kills(KNOWN[::share], framework))
    assert len(found) > 60 // share
    assert [kill.planted for kill in found if not kill.killed_by or not kill.named] == []


def test_every_known_bug_is_planted_without_a_framework():
    """The kill table covers the catalogue: each of its bugs is planted at least once where only NumPy is needed."""
    planted = {bug.bug for bug in KNOWN if "numpy" in bug.frameworks}
    assert {bug.name for bug in CATALOGUE} <= planted
    named = {convention.name for convention in CONVENTIONS}
    assert planted <= {bug.name for bug in CATALOGUE} | named


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_bugs_that_no_catalogue_knows_are_found(framework, share):
    """Being caught does not depend on being known."""
    survivors = {(framework, kill.planted.new) for kill in kills(UNKNOWN[::share], framework) if not kill.killed_by}
    assert survivors <= WITHIN_TOLERANCE


@functools.cache
def alarms(framework, first):
    """What became of the correct implementations."""
    return list(false_alarms(framework, FIRST, share=5) if first else false_alarms(framework))


@pytest.mark.parametrize("first", RIGHT)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_correct_implementations_pass(framework, first):
    """No false alarm under any reduction, precision or declared convention."""
    found = alarms(framework, first)
    assert {a.subject.loss for a in found} == {subject.loss for subject in CORRECT}
    assert [(a.subject, a.dtype, failed(a.report)) for a in found if not a.report.passed] == []


def test_names_of_the_catalogue_are_unique():
    """A diagnosis points to one entry."""
    names = [entry.name for entry in (*CATALOGUE, *CONVENTIONS)]
    assert len(names) == len(set(names))


def test_tables_are_markdown(monkeypatch):
    """Both tables can be made by a command; their last line counts."""
    monkeypatch.setattr(tables, "false_alarms", lambda framework, ones: false_alarms(framework, ones[:1], share=4))
    found = kill_table(planted=KNOWN[:2])
    assert found.splitlines()[-1] == "2 of 2 found, 2 of 2 named."
    # Another process may compute it, and send its reports here.
    with process_pool(1) as executor:
        assert kill_table(planted=KNOWN[:2], executor=executor) == found
    table = false_alarm_table()
    assert f"| {tables.CORRECT[0].source} | numpy |" in table
    assert table.splitlines()[-1].startswith("0 false alarms in ")


@pytest.mark.parametrize(("level", "tokens"), [("tokens", {True}), ("pairs", {False}), ("", {True, False})])
def test_tables_of_one_level(monkeypatch, level, tokens):
    """A word asks for the bugs and implementations of one level; without it there are those of both."""
    asked = []
    monkeypatch.setattr(tables, "kill_table", lambda frameworks, planted: asked.extend(bug.subject for bug in planted))
    monkeypatch.setattr(tables, "false_alarm_table", lambda frameworks, correct: asked.extend(correct))
    monkeypatch.setattr(tables, "reports", lambda framework, subjects: reports(framework, subjects[:2]))
    tables.main([level, "numpy"] if level else ["numpy"])
    assert {subject.loss in tables.OF_TOKENS for subject in asked} == tokens


# Definitions


@pytest.mark.parametrize("name", [name for name, d in LOSSES.items() if d.margins])
@pytest.mark.parametrize("batch", ["generic", "extreme"])
def test_margins_and_objective_give_the_loss(name, batch):
    """What known bugs are made from agrees with the batch losses that results are held against."""
    definition = LOSSES[name]
    conventions = conventions_of(definition, {}, set(definition.parameters))
    case = Case(definition, definition.batches[batch], conventions)
    made, right = of_margins(case, case.margins().values), case.expected()
    np.testing.assert_allclose(made.value, right.value, rtol=1e-12)
    for gradient in made.gradients:
        np.testing.assert_allclose(made.gradients[gradient], right.gradients[gradient], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("average", [False, True])
def test_sequence_gradients_are_those_of_the_sums(average, temperature):
    """Central differences of the summed result."""
    conventions = {
        "average": average, "shift": True, "temperature": temperature, "layout": "mask", "reduction": "none",
    }  # fmt: skip
    case = Case(SEQUENCE_LOG_PROBS, SEQUENCE_LOG_PROBS.batches["generic"], conventions)
    gradient, step = case.expected().gradients["logits"], 1e-5
    for place in [(0, 2, 1), (1, 3, 0), (3, 4, 2), (0, 0, 0)]:
        values = []
        for sign in (1.0, -1.0):
            logits = case.arrays["logits"].copy()
            logits[place] += sign * step
            values.append(case.with_arrays(logits=logits).expected().value.sum())
        assert gradient[place] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-8)


@pytest.mark.parametrize(
    ("number", "nearest"), [(1.0, 1.0), (1.00390625, 1.0), (1.01171875, 1.015625), (-3.14159, -3.140625)]
)
def test_rounding_to_bfloat16(number, nearest):
    """To the nearest of eight binary digits, ties to even."""
    assert rounded(np.array([number]), "bfloat16")[0] == nearest


# Calling


def test_hyperparameters_are_passed_where_they_are_taken():
    """The declared value reaches a function whose own default is another."""
    assert check_loss(dpo, "dpo", beta=0.7).passed
    assert check_loss(dpo, "dpo").conventions["beta"] == 0.3
    assert "hyperparameters_used" in failed(check_loss(lambda *a, beta: dpo(*a), "dpo", on_failure="report"))


@pytest.mark.parametrize(
    ("function", "pieces"),
    [
        (lambda chosen, rejected: chosen - rejected, ["TypeError", "4 arrays", "policy_chosen: float64 (6,)"]),
        (lambda *batch: None, ["returned NoneType", "expected   a number"]),
        (lambda *batch: "much", ["returned str 'much'"]),
        (lambda *batch: {"loss": 1.0}, ["returned dict"]),
        (lambda *batch: np.ones((3, 2)), ["shape (3, 2)", "the mean over the batch"]),
        (lambda *batch: [][1], ["IndexError"]),
        (lambda *batch: (_ for _ in ()).throw(RuntimeError("no CUDA device")), ["no CUDA device", "on the CPU"]),
    ],
)
def test_bad_subjects_are_told_how_they_were_called(function, pieces):
    """One check fails, the others are skipped, and the message has shapes and what was expected."""
    report = check_loss(function, "dpo", beta=0.3, on_failure="report", framework="numpy")
    assert failed(report) == ["call"]
    assert {result.status for result in report.results[1:]} == {"skipped"}
    for piece in pieces:
        assert piece in message_of(report, "call")


def test_undeclared_reduction_is_named_by_its_shape():
    """Losses of single pairs under reduction="mean" are recognised."""
    report = check_loss(lambda a, b: np.logaddexp(0.0, b - a), "reward", on_failure="report")
    assert "reduction='none'" in report.diagnoses[0]


def test_nan_and_modified_inputs():
    """NaN is a wrong value and not finite; writing into an input is noticed."""
    report = check_loss(lambda *batch: dpo(*batch) * np.nan, "dpo", beta=0.3, on_failure="report")
    assert {"value", "finite"} <= set(failed(report))

    def writes(policy_chosen, *others):
        value = dpo(policy_chosen, *others)
        policy_chosen[0] = 0.0
        return value

    assert failed(check_loss(writes, "dpo", beta=0.3, on_failure="report")) == ["inputs_unmodified"]


def test_tuple_results_and_single_numbers_in_arrays():
    """The first element of a tuple is the loss; a scalar may come as an array of one number."""
    assert check_loss(lambda *batch: (dpo(*batch), "metrics"), "dpo", beta=0.3).passed
    assert check_loss(lambda *batch: np.array([dpo(*batch)]), "dpo", beta=0.3).passed


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({"tau": 1.0}, TypeError, "has beta, label_smoothing, variant, reference_free and reduction"),
        ({}, TypeError, "needs beta=..."),
        ({"beta": -1.0}, ValueError, "`beta` must be positive"),
        ({"beta": 1.0, "variant": "x"}, ValueError, "`variant` must be"),
        ({"beta": 1.0, "dtype": "float8"}, ValueError, "`dtype` must be"),
        ({"beta": 1.0, "framework": "mlx"}, ValueError, "`framework` must be"),
        ({"beta": 1.0, "on_failure": "ignore"}, ValueError, "`on_failure` must be"),
        ({"beta": 1.0, "expected_failed_checks": {"valu": ""}}, ValueError, "`expected_failed_checks` must be"),
    ],
)
def test_wrong_declarations_are_refused(keywords, error, says):
    """Before anything is computed, in one line that names the argument."""
    with pytest.raises(error, match=says):
        check_loss(lambda *batch: dpo(*batch), "dpo", **keywords)


# Messages and results


def twice(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
    return dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.09)


def test_a_message_has_numbers_tolerance_and_a_call_that_can_be_pasted():
    """The pasted call gives the number that the message says."""
    with pytest.raises(LossCheckError) as caught:
        check_loss(twice, "dpo", beta=0.3)
    report, text = caught.value.report, str(caught.value)
    assert "β applied twice (MaxText #1530)" in text
    assert max(map(len, text.splitlines())) <= 80
    message = message_of(report, "value")
    for piece in ("computed", "expected", "allowed in float64", "np.array([-3.58])"):
        assert piece in message
    prose, call = message.split("\n\n")
    shown = float(prose.split(" alone: ")[1].split()[0])
    assert eval(call, {"np": np, "twice": twice}) == shown


def test_expected_failures_are_marked():
    """A known failure does not fail the report; one that passes is told."""
    first = check_loss(twice, "dpo", beta=0.3, on_failure="report")
    expected = {name: "β is another one" for name in failed(first)}
    report = check_loss(twice, "dpo", beta=0.3, expected_failed_checks={**expected, "reduction": "?"})
    statuses = {result.name: result.status for result in report.results}
    assert statuses["value"] == "expected failure"
    assert statuses["reduction"] == "unexpected pass"
    assert report.passed


def test_a_report_is_data():
    """It can be written as JSON, and says the same in single checks."""
    report = check_loss(dpo, "dpo", beta=0.3)
    assert isinstance(report, Report)
    data = report.as_dict()
    assert data["passed"]
    assert [result["name"] for result in data["results"]] == list(iter_checks("dpo"))
    for result in report.results:
        assert run_check(result.name, dpo, "dpo", beta=0.3).status == result.status


def test_a_number_that_nobody_declared_is_marked():
    """The function takes beta as a keyword: it gets a value of the tool's, and the report says whose it is."""
    report = check_loss(dpo, "dpo")
    assert "dpo (beta=0.3 (chosen here), label_smoothing=0.0" in str(report)
    assert report.as_dict()["chosen"] == ["beta"]
    assert "chosen here" not in str(check_loss(dpo, "dpo", beta=0.3))


def test_sequence_checks_by_name():
    """The same single checks exist for sequence log-probabilities."""
    assert {"shift", "prompt", "padding", "end_of_sequence", "empty_completion"} <= set(
        iter_checks("sequence_log_probs")
    )

    def wrong(logits, labels, mask):
        return np.zeros(len(logits))

    assert run_check("shift", wrong, "sequence_log_probs").status == "failed"
    with pytest.raises(LossCheckError):
        check_sequence_log_probs(wrong)


def single_precision_head(logits, labels, mask, *, shifted, dropped=0):
    """Sums of token log-probabilities computed in the logits' own precision; `dropped` columns are lost."""
    logits, labels = logits[:, :-1], labels[:, 1:]
    counted = (mask[:, 1:] != 0) & (np.arange(labels.shape[1]) >= dropped)
    own = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    largest = logits.max(-1)
    log_total = np.log(np.exp(logits - largest[..., None]).sum(-1))
    tokens = (own - largest) - log_total if shifted else own - (largest + log_total)
    return np.where(counted, tokens, 0).sum(-1)


@pytest.mark.parametrize("shifted", [True, False])
def test_an_honest_float32_head_passes(shifted):
    """The shifted difference, and logit − logsumexp too, whose normaliser is rounded to its own size."""
    head = functools.partial(single_precision_head, shifted=shifted)
    assert check_sequence_log_probs(head, on_failure="report").passed


def test_a_wrong_head_is_not_excused_by_rounding():
    """A head that also loses a token is wrong by more than its logits' last places."""
    head = functools.partial(single_precision_head, shifted=False, dropped=4)
    wrong = check_sequence_log_probs(head, on_failure="report")
    assert {"value", "float32"} <= {result.name for result in wrong.results if result.status == "failed"}


def test_own_gradients_of_numpy_functions():
    """Declared, they are held against the definition: by name or by position."""

    def with_gradients(chosen, rejected):
        slope = -1.0 / (1.0 + np.exp(chosen - rejected)) / len(chosen)
        return np.logaddexp(0.0, rejected - chosen).mean(), (slope, -slope)

    def wrong(chosen, rejected):
        value, (first, second) = with_gradients(chosen, rejected)
        return value, {"chosen_rewards": first, "rejected_rewards": 1.01 * second}

    assert check_loss(with_gradients, "reward", returns_gradients=True).passed
    assert failed(check_loss(wrong, "reward", returns_gradients=True, on_failure="report"))[0] == (
        "gradient_rejected_rewards"
    )


# Searching further


def test_random_search_finds_what_fixed_vectors_do_not_show():
    """A bug that needs a particular input is found, shrunk, and shown as a call."""
    pytest.importorskip("hypothesis")

    def clipped(a, b):
        return np.logaddexp(0.0, np.where((b - a > 3.0) & (b - a < 4.0), 2.0, b - a)).mean()

    report = check_loss(clipped, "reward", random_search=300, on_failure="report")
    assert failed(report) == ["random_search"]
    assert "np.array([" in message_of(report, "random_search")
    again = check_loss(clipped, "reward", random_search=300, on_failure="report")
    assert again.as_dict() == report.as_dict()
    assert check_loss(lambda a, b: np.logaddexp(0.0, b - a).mean(), "reward", random_search=50).passed


# Frameworks


def test_frameworks_are_recognised_by_what_a_function_mentions():
    """Also through modules, closures and partial applications; NumPy code mentions none."""
    torch = pytest.importorskip("torch")

    def direct(a, b):
        return torch.nn.functional.softplus(b - a).mean()

    assert mentioned_frameworks(dpo) == set()
    assert mentioned_frameworks(direct) == {"torch"}
    assert mentioned_frameworks(functools.partial(direct)) == {"torch"}
    assert mentioned_frameworks(lambda *pair: direct(*pair)) == {"torch"}
    assert check_loss(direct, "reward").framework == "torch"
    assert check_loss(lambda a, b: -(a - b).sigmoid().log().mean(), "reward", on_failure="report").framework == "torch"


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_frameworks_are_recognised_by_what_a_function_returns(framework):
    """A function that hides its framework and takes NumPy arrays too is checked with its derivatives."""
    library = pytest.importorskip(framework)
    hidden = [library, library.as_tensor] if framework == "torch" else [library.numpy, library.numpy.asarray]

    def loss(a, b):
        names, array = hidden
        difference = array(b) - array(a)
        return names.logaddexp(names.zeros_like(difference), difference).mean()

    assert mentioned_frameworks(loss) == set()
    report = check_loss(loss, "reward")
    assert report.framework == framework
    assert "gradient_chosen_rewards" in {r.name for r in report.results if r.status == "passed"}


def test_jax_functions_may_branch_on_values():
    """Such a function has a derivative, but is no single program."""
    jax = pytest.importorskip("jax")

    def loss(a, b):
        return jax.nn.softplus(b - a).mean() if (a > b).any() else jax.numpy.logaddexp(0.0, b - a).mean()

    assert check_loss(loss, "reward").passed


def test_jax_programs_know_which_argument_they_use():
    """Two functions that differ in that only, called with arrays of another length than the first."""
    pytest.importorskip("jax")
    framework = framework_named("jax")
    for size in (2, 3):
        arrays = [Given(np.full(size, value), "float64", True) for value in (1.0, 2.0)]
        first = framework.call(lambda a, b: 2.0 * a.sum(), arrays, {})
        second = framework.call(lambda a, b: 2.0 * b.sum(), arrays, {})
        assert (float(first.result), float(second.result)) == (2.0 * size, 4.0 * size)
        for returned, used in ((first, 0), (second, 1)):
            np.testing.assert_array_equal(returned.gradients[used], np.full(size, 2.0))
            np.testing.assert_array_equal(returned.gradients[1 - used], np.zeros(size))


def test_derivatives_of_jax_functions_are_not_remembered():
    """A function whose derivative depends on how often it was called is traced anew each time."""
    jax = pytest.importorskip("jax")
    calls = []

    def loss(a, b):
        calls.append(a)
        value = jax.nn.softplus(b - a).mean()
        factor = 1.0 if len(calls) < 12 else 2.0
        return factor * value + (1.0 - factor) * jax.lax.stop_gradient(value)

    report = check_loss(loss, "reward", on_failure="report")
    assert len(calls) > 12
    found = [r for r in report.results if r.status == "failed"]
    assert found
    assert all("the gradient" in r.message for r in found)


def test_first_try_on_torch_names_the_bug():
    """A function with a planted bug, as a new user would write it."""
    torch = pytest.importorskip("torch")

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
        gap = policy_chosen - policy_rejected - reference_chosen + reference_rejected
        return -torch.nn.functional.logsigmoid(gap / 0.3).mean()

    report = check_loss(loss, "dpo", beta=0.3, on_failure="report")
    assert "divided by β (Liger-Kernel #378)" in report.diagnoses[0]


def test_gradient_into_the_reference_is_a_failure_only_if_declared():
    """Most code computes the reference without gradient and does not detach it again."""
    torch = pytest.importorskip("torch")

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
        gap = policy_chosen - policy_rejected - reference_chosen + reference_rejected
        return -torch.nn.functional.logsigmoid(0.3 * gap).mean()

    assert check_loss(loss, "dpo", beta=0.3).passed
    strict = check_loss(loss, "dpo", beta=0.3, detached_reference=True, on_failure="report")
    assert failed(strict) == ["no_gradient_to_reference"]


def test_the_numpy_path_needs_nothing_else():
    """Neither a framework nor Hypothesis nor pytest is imported."""
    script = (
        "import sys, numpy as np\n"
        "from pbde_ref.oracle import check_loss\n"
        "assert check_loss(lambda a, b: np.logaddexp(0.0, b - a).mean(), 'reward').passed\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "jax", "hypothesis", "pytest", "matplotlib", "autograd"} & set(run.stdout.split())


def test_no_array_runs_backwards():
    """PyTorch takes none with a negative stride, and calls that had one failed for every loss."""
    strides = set()

    def watched(*arrays, beta):
        strides.update(stride for array in arrays for stride in array.strides)
        return dpo(*arrays, beta=beta)

    assert check_loss(watched, "dpo", beta=0.3, framework="numpy").passed
    assert min(strides) > 0


@pytest.mark.parametrize("ends", [pytest.skip, pytest.xfail, pytest.importorskip, sys.exit])
def test_a_function_that_skips_fails(ends):
    """Inside a test it would skip that, and the build would be green."""
    report = check_loss(lambda *arrays: ends("absent"), "dpo", beta=0.3, framework="numpy", on_failure="report")
    assert failed(report) == ["call"]


def test_what_a_partial_binds_is_not_overridden():
    """Handed over bound to 0.5 it is another loss, wherever it is called with its arrays alone."""
    assert check_loss(functools.partial(dpo, beta=0.3), "dpo", beta=0.3).passed
    bound = check_loss(functools.partial(dpo, beta=0.5), "dpo", beta=0.3, on_failure="report")
    assert "value" in failed(bound)


def test_a_masked_loss_is_no_number():
    report = check_loss(lambda c, r: np.ma.array(np.logaddexp(0.0, r - c).mean(), mask=True), "reward",
                        on_failure="report")  # fmt: skip
    assert failed(report) == ["call"]


def test_hyperparameters_are_not_tried_where_the_definition_has_no_loss():
    """AlphaPO's exponentials of 10,000 nats have no difference with a larger alpha."""

    def alphapo(chosen, rejected, chosen_lengths, rejected_lengths, beta, alpha, margin):
        alpha = constant or alpha
        h = [-np.expm1(-alpha * x / n) / alpha for x, n in ((chosen, chosen_lengths), (rejected, rejected_lengths))]
        return np.logaddexp(0.0, margin - beta * (h[0] - h[1])).mean()

    constant = None
    assert check_loss(alphapo, "alphapo", beta=0.3, alpha=0.3, margin=0.4).passed
    constant = 0.3
    ignored = check_loss(alphapo, "alphapo", beta=0.3, alpha=0.3, margin=0.4, on_failure="report")
    assert failed(ignored) == ["hyperparameters_used"]


def test_which_of_equal_scores_is_the_best_is_not_asked():
    def rrhf(policy, lengths, scores):
        p, worse = policy / lengths, scores[:, None, :] < scores[:, :, None]
        ranking = np.where(worse, np.maximum(p[:, None, :] - p[:, :, None], 0.0), 0.0).sum((1, 2))
        return (ranking - np.take_along_axis(policy, scores.argmax(1)[:, None], 1)[:, 0]).mean()

    assert check_loss(rrhf, "rrhf").passed
    wrong = check_loss(lambda p, n, s: rrhf(p, n, -s), "rrhf", on_failure="report")
    assert "value" in failed(wrong)


@pytest.mark.parametrize(
    ("source", "dtype", "reduction"),
    [("pbde", "float16", "mean"), ("clipped_chi_po", "float32", "mean"), ("f_dpo", "float32", "none"),
     ("squared_po", "float16", "sum"), ("rao_kupper", "float16", "none"), ("aot", "float64", "none")],
)  # fmt: skip
def test_right_losses_pass_where_numbers_end_or_are_sorted(source, dtype, reduction):
    """Exponentials that overflow in the precision, weights that round to 0 there, losses in the batch's order."""
    right = next(subject for subject in tables.CORRECT if subject.source == source)
    declared = Subject(right.source, right.loss, {**right.conventions, "reduction": reduction})
    report = tables.held(build(declared, "numpy"), declared, "numpy", dtype=dtype)
    assert failed(report) == []


@pytest.mark.parametrize("declared", [{}, {"lambda_": 0.0}])
def test_a_convention_left_open_counts_no_array_that_is_not_passed(declared):
    """Without the regulariser SLiC has two arrays, so that the third argument is the hyperparameter."""

    def mine(chosen, rejected, delta):
        return np.mean(np.maximum(0.0, delta - (chosen - rejected)))

    assert check_loss(mine, "slic", delta=1.5, **declared).held == 20
    wrong = check_loss(lambda c, r, delta: mine(r, c, delta), "slic", delta=1.5, on_failure="report", **declared)
    assert not wrong.passed
    assert wrong.held > 1
