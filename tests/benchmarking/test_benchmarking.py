"""Benchmarks run, say what they measured, and notice a wrong loss. No test asserts a time."""

import gc
import importlib.util
import inspect
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.benchmarking.batch_problems import BATCH_LOSSES, batch_arrays
from pbde_ref.benchmarking.brought import Brought, loss_called, measure_brought, wrong_values
from pbde_ref.benchmarking.comparison import as_table, compare
from pbde_ref.benchmarking.contests import SUITES, Contest, contests, missing_package, needs
from pbde_ref.benchmarking.documents import BEGIN, END, check_writable, put_between_marks
from pbde_ref.benchmarking.memory import peak_beyond_inputs
from pbde_ref.benchmarking.results import Measurement, Report, Skipped
from pbde_ref.benchmarking.runner import measure_contest, run_suites
from pbde_ref.benchmarking.scaling import fitted_slope, scaling_series
from pbde_ref.benchmarking.tables import as_markdown, as_text, duration, number
from pbde_ref.benchmarking.targets import TARGETS, judge
from pbde_ref.benchmarking.timing import SMALLEST, Effort, interleaved, spread
from pbde_ref.cli import bench
from pbde_ref.cli.arguments import Parser

CONTESTS = {contest.name: contest for contest in contests(list(SUITES))}
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")


def measurement(contest="Linear", contender="kernel_sum", seconds=(1.0,), ratios=(1.0,), tracked=None, peak=None, **p):
    return Measurement("suite", contest, "title", contender, "argsort", p, seconds, ratios, tracked or {}, peak)


def report_of(*measurements):
    machine = {"processor": "", "cores": 2, "memory_gib": None, "system": "", "load_average": 0.1,
               "thread_limits": {}, "versions": {"numpy": "2"}}  # fmt: skip
    return Report(machine, "full", measurements, ())


@pytest.fixture(scope="module", autouse=True)
def _no_old_garbage():
    """Each measurement collects garbage first; what all the other tests have left behind is not looked through."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def smallest():
    """Every benchmark, once."""
    return run_suites(list(SUITES), "smallest", memory=False)


# --- the suites ---


def test_every_benchmark_runs(smallest):
    """Every contender of every contest is measured at its smallest size, or skipped for a reason that is named."""
    measured = {(m.contest, m.contender) for m in smallest.measurements}
    skipped = {(s.contest, s.contender) for s in smallest.skipped}
    for contest in CONTESTS.values():
        for contender in contest.methods("time_"):
            places = {(contest.name, contender), (contest.name, "")}
            assert places & (measured | skipped), f"{contest.name}.{contender}"
    reasons = {s.reason for s in smallest.skipped}
    assert all(r.endswith("is not installed") or r.startswith("this version has no") for r in reasons)
    assert {"sample_outcomes", "generator_choice"} <= {m.contender for m in smallest.measurements}


def test_contenders_agree(smallest):
    """Accuracy beside time: whoever is measured computes the same thing."""
    errors = {
        (m.contest, m.contender, name, *m.parameters.values()): value
        for m in smallest.measurements
        for name, value in m.tracked.items()
        if name.endswith("error")
    }
    assert len(errors) >= 5
    # Well-conditioned inputs; the gradients are relative to their largest entry. Double precision where not said.
    single = {key for key in errors if "float32" in key}
    assert {key: value for key, value in errors.items() if not value < (1e-5 if key in single else 1e-10)} == {}
    gradients = [m.tracked["gradient"] for m in smallest.measurements if "gradient" in m.tracked]
    assert all(g < 1e-5 for g in gradients)


def test_report_has_tables_and_json(smallest):
    """Every contest stands in the text and in the Markdown; JSON takes the report; versions are recorded."""
    text, markdown = as_text(smallest), as_markdown(smallest)
    assert max(map(len, text.splitlines()[2:])) <= 80
    for m in smallest.measurements:
        assert m.title in " ".join(text.split())
        assert f"**{m.title}**" in markdown
        assert len(m.seconds) >= 1
        assert min(m.seconds) > 0.0
        assert len(m.ratios) == (len(m.seconds) if m.reference else 0)
    assert json.loads(json.dumps(smallest.as_dict(), allow_nan=False))["size"] == "smallest"
    assert smallest.machine["versions"]["numpy"] == np.__version__
    assert smallest.machine["cores"] >= 1


@pytest.mark.parametrize("name", CONTESTS)
def test_contest_is_complete(name):
    """Names follow asv; references exist; memory and accuracy belong to contenders; quick sizes are smaller."""
    contest = CONTESTS[name]
    contenders = contest.methods("time_")
    assert contenders
    assert contest.reference == "" or contest.reference in contenders
    assert set(contest.methods("peakmem_")) <= set(contenders)
    assert len(contest.kind.params) == len(contest.kind.quick_params) == len(contest.parameter_names)
    for full, quick in zip(contest.kind.params, contest.kind.quick_params, strict=True):
        assert all(isinstance(v, str) for v in full) or max(quick) <= max(full)
    assert len(contest.cases("smallest")) <= len(contest.cases("quick"))
    assert not contest.title.endswith(".")


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.contest}-{t.contender}-{t.quantity}")
def test_target_can_be_measured(target, smallest):
    """Each target speaks of a contest, a contender, parameters and a quantity that exist at full size."""
    contest = CONTESTS[target.contest]
    assert target.contender in contest.methods("time_")
    cases = [dict(zip(contest.parameter_names, values, strict=True)) for values in contest.cases("full")]
    matching = [case for case in cases if target.parameters.items() <= case.items()]
    assert len(matching) > 1 if target.quantity == "slope" else len(matching) == 1
    there = [m for m in smallest.measurements if (m.contest, m.contender) == (target.contest, target.contender)]
    always = {"seconds", "ratio", "slope", "megabytes"}
    assert target.quantity in always or all(target.quantity in m.tracked for m in there)
    assert target.beside in ("", *contest.methods("time_"))
    assert target.quantity != "megabytes" or target.contender in contest.methods("peakmem_")


def test_targets_are_judged():
    """A bound that holds is met, one that does not is missed and says so; what was not measured is not judged."""
    linear = [measurement(seconds=(10.0**k,), n=10**k, kind="300 nats") for k in (4, 5, 6, 7)]
    linear += [measurement(contender="argsort", seconds=(10.0**7 / 0.7,), n=10**7, kind="300 nats")]
    found = {j.target.quantity: j for j in judge(report_of(*linear))}
    assert math.isclose(found["ratio"].measured, 0.7)
    assert not found["ratio"].met
    assert math.isclose(found["slope"].measured, 1.0)
    assert found["slope"].met
    assert set(found) == {"ratio", "slope"}
    assert "missed" in as_text(report_of(*linear))
    faster = measurement("Fits", "evalica", ratios=(5.0, 3.5, 4.0), comparisons=10**6, items=1000)
    (judged,) = judge(report_of(faster))
    assert judged.measured == 4.0
    assert judged.met
    assert judge(report_of(linear[0])) == []


# --- the runner ---


def test_contenders_take_turns():
    """In each round each contender runs once, and the order rotates."""
    calls = []
    contenders = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    seconds = interleaved(contenders, Effort(rounds=4, sample=0.0, budget=10.0), dict.fromkeys("abc", 1e-3))
    assert "".join(calls) == "abcbcacababc"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 4, "b": 4, "c": 4}


def test_fast_calls_are_repeated_and_slow_contests_shortened():
    """A measurement repeats what is shorter than it; a contest over its budget still has three rounds."""
    calls = []
    interleaved({"a": lambda: calls.append(1)}, Effort(rounds=9, sample=0.02, budget=1.0), {"a": 0.005})
    assert len(calls) == 9 * 4
    calls.clear()
    interleaved({"a": lambda: calls.append(1)}, Effort(rounds=9, sample=0.0, budget=1.0), {"a": 10.0})
    assert len(calls) == 3


class Toy:
    """A contest of its own"""

    params = ([2, 3],)
    quick_params = ([2],)
    param_names = ("n",)
    reference = "loop"

    def setup(self, n):
        if n == 3:
            raise NotImplementedError("three is too many")

    def time_loop(self, n):
        return sum(range(n))

    @needs("a_package_that_nobody_has")
    def time_other(self, n):
        raise AssertionError("must not run")

    def time_absent(self, n):
        raise NotImplementedError("this version has no such thing")

    def accuracy(self, contender, answer):
        return {"bad_error": math.nan}


def test_what_cannot_run_is_skipped_with_its_reason():
    """A missing package, a missing function, a setup that declines: each is named, the others are measured."""

    class Honest(Toy):
        def accuracy(self, contender, answer):
            return {"bad_error": 1e-3}

    contest = Contest("toys", "Honest", Honest)
    measured, skipped = measure_contest(contest, (2,), SMALLEST)
    assert [(m.contender, m.ratios, m.tracked) for m in measured] == [("loop", (1.0,), {"bad_error": 1e-3})]
    assert {s.contender: s.reason for s in skipped} == {
        "other": "a_package_that_nobody_has is not installed",
        "absent": "this version has no such thing",
    }
    measured, skipped = measure_contest(contest, (3,), SMALLEST)
    assert measured == []
    assert [s.reason for s in skipped] == ["three is too many"]
    assert missing_package(Toy.time_loop) is None


def test_what_is_not_installed_is_said_once_and_what_was_too_much_where():
    """Two thousand characters named each size of each loss that PyTorch was missing for."""
    skipped = [Skipped("toys", "Toy", name, {"n": n}, reason) for n in (2, 3)
               for name, reason in (("torch", "torch is not installed"), ("loop", "n is too many"))]  # fmt: skip
    text = as_text(replace(report_of(), skipped=tuple(skipped)))
    assert "Not measured, because torch is not installed: Toy torch.\n" in text
    assert "because n is too many: Toy loop (n = 2); Toy loop (n = 3)." in text


def test_a_contest_may_have_no_contender():
    """Where none of the packages is installed, nothing is measured, and each is named."""

    class Empty(Toy):
        time_loop = Toy.time_other

    measured, skipped = measure_contest(Contest("toys", "Empty", Empty), (2,), SMALLEST)
    assert measured == []
    assert {s.contender for s in skipped} == {"loop", "other", "absent"}


def test_a_tracked_nan_is_an_error():
    """A number that nobody can compare does not get into a table."""
    with pytest.raises(ValueError, match="a tracked quantity must be finite; got nan"):
        measure_contest(Contest("toys", "Toy", Toy), (2,), SMALLEST)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")
def test_memory_is_that_of_the_job():
    """100,000 draws from 1,000 outcomes need their result and about as much again, not what NumPy itself takes."""
    peak = peak_beyond_inputs(CONTESTS["ManyOutcomes"], "peakmem_sample_outcomes", (1000, 100_000))
    assert 0.7e6 <= peak <= 8e6


@pytest.mark.parametrize("call", [lambda: contests(["dice"]), lambda: run_suites([], "huge")])
def test_unknown_suites_and_sizes_are_named(call):
    """One line that says what is known."""
    with pytest.raises(ValueError, match=r"`(suite|size)` must be one of .*; got '(dice|huge)'"):
        call()


# --- comparing reports ---


def runs(times, controls=8, slower=1.0, rounds=(1.0, 1.02, 1.01)):
    """A report: so many controls of one second, slower by a factor and a little noise, and ours with these times."""
    noise = np.random.default_rng(7).normal(scale=0.02, size=controls)
    ours = [measurement(contender="kernel_sum", seconds=tuple(slower * t * r for r in rounds), n=i)
            for i, t in enumerate(times)]  # fmt: skip
    others = [measurement(contender="torch", seconds=tuple(slower * math.exp(e) * r for r in rounds), n=i)
              for i, e in enumerate(noise if slower != 1.0 else 0.0 * noise)]  # fmt: skip
    return report_of(*ours, *others)


@pytest.mark.parametrize("machine", [0.5, 1.001, 3.0])
def test_what_became_slower_is_told_from_the_machine(machine):
    """The machine's part is what others' code changed by; what is within their noise, or the rounds', is no change."""
    found = compare(runs([1.3, 1.0, 0.5, 1.015, 7.0], slower=machine), runs([1.0, 1.0, 1.0, 1.0]))
    assert found.controls == 8
    assert found.drift == pytest.approx(machine, rel=0.03)
    assert 1.0 < found.noise < 1.06
    assert [(c.now.parameters["n"], c.verdict) for c in found.changes] == [
        (0, "slower"), (3, ""), (1, ""), (2, "faster"),
    ]  # fmt: skip
    assert found.changes[0].ratio == pytest.approx(1.3, rel=0.03)
    text = as_table(found)
    assert "1 slower, 1 faster, 2 within noise." in text
    assert max(map(len, text.split("\n\n")[1].split("\n"))) <= 80
    wild = runs([1.3], slower=machine, rounds=(0.5, 1.0, 2.0))
    assert compare(wild, runs([1.0])).changes[0].verdict == ""


def test_without_controls_nothing_is_called_slower():
    found = compare(runs([9.0], controls=4), runs([1.0], controls=4))
    assert found.changes[0].verdict == ""
    assert "Only 4 contenders" in as_table(found)


def test_another_machine_is_mentioned():
    other = runs([1.0])
    moved = Report({**other.machine, "cores": 64}, "full", other.measurements, ())
    assert "Not the same machine" in as_table(compare(moved, other))


# --- tables, plots, documents ---


def test_numbers_are_short():
    """Units and powers of ten; medians, not means."""
    assert [duration(s) for s in (0.0, 3e-9, 2e-6, 0.25, 120.0)] == ["0 ns", "3 ns", "2 µs", "250 ms", "120 s"]
    assert [number(v) for v in (64, 1000, 10**7, 2000, "dpo")] == ["64", "10^3", "10^7", "2000", "dpo"]
    assert spread([1.0, 100.0, 2.0]) == (1.0, 2.0, 100.0)


def test_slope_is_the_exponent():
    """t = c n^1.5 has slope 1.5, whatever c."""
    sizes = np.array([10.0, 50.0, 1000.0])
    assert math.isclose(fitted_slope(sizes, 3.0 * sizes**1.5), 1.5, rel_tol=1e-12)


def test_scaling_plot_is_drawn(tmp_path):
    """Series need two sizes; the legend has the slope; the file is a PNG."""
    from pbde_ref.figures import save_figure
    from pbde_ref.figures.scaling import draw_scaling

    points = [measurement(seconds=(1e-6 * n,), n=n) for n in (1000, 10_000)]
    series = scaling_series([*points, measurement(contender="once", n=10), measurement(items=3)])
    assert [(s.label, s.sizes) for s in series] == [("kernel sum", (1000.0, 10_000.0))]
    figure = draw_scaling(series)
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["kernel sum, slope 1.00"]
    save_figure(figure, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"`series` must hold something measured at two sizes"):
        draw_scaling([])


def test_tables_replace_what_stands_between_the_marks(tmp_path):
    """Text around the marks stays, twice in a row too; a file without marks is refused and left as it is."""
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for text in ("new", "newer"):
        put_between_marks(path, text)
    assert path.read_text("utf-8") == f"before\n{BEGIN}\n\nnewer\n\n{END}\nafter\n"
    put_between_marks(tmp_path / "new.md", "text")
    assert (tmp_path / "new.md").read_text("utf-8") == f"{BEGIN}\n\ntext\n\n{END}\n"
    for broken in ("no marks", f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"):
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(ValueError, match="must hold the lines"):
            put_between_marks(path, "text")
        assert path.read_text("utf-8") == broken


def test_unwritable_paths_are_refused_before_measuring(tmp_path):
    """A missing folder, an ending that no figure has."""
    check_writable(tmp_path / "x.png", (".png",))
    with pytest.raises(ValueError, match=r"`path` must end in one of .png; got"):
        check_writable(tmp_path / "x.txt", (".png",))
    with pytest.raises(FileNotFoundError, match=r"the folder does not exist: "):
        check_writable(tmp_path / "missing" / "x.json")


def test_a_busy_machine_is_mentioned():
    """Numbers from a machine with other work say so."""
    quiet = report_of(measurement(n=10))
    busy = Report({**quiet.machine, "load_average": 3.0}, "full", quiet.measurements, ())
    assert "busy" in as_markdown(busy)
    assert "busy" not in as_markdown(quiet)


# --- batch losses and a loss that the user brings ---


@needs_torch
@pytest.mark.parametrize("loss", BATCH_LOSSES)
def test_torch_formulas_are_the_losses(loss):
    """What PyTorch is measured with is the same loss, by value and gradients."""
    import torch

    problem = BATCH_LOSSES[loss]
    arrays = batch_arrays(problem, 50)
    ours = problem.function(*arrays, **problem.parameters)
    tensors = [torch.tensor(a, requires_grad=i < 2) for i, a in enumerate(arrays)]
    value = problem.torch(torch, *tensors, **problem.parameters)
    value.backward()
    assert math.isclose(float(value.detach()), ours.value, rel_tol=1e-13)
    for name, tensor in zip(problem.differentiated, tensors, strict=False):
        np.testing.assert_allclose(tensor.grad.numpy(), ours.gradients[name], rtol=1e-10, atol=1e-15)


def numpy_dpo(pc, pr, rc, rr, beta):
    return np.logaddexp(0.0, -beta * ((pc - rc) - (pr - rr)))


def torch_dpo(pc, pr, rc, rr, beta=0.1):
    import torch

    return -torch.nn.functional.logsigmoid(beta * ((pc - rc) - (pr - rr))).mean(), "metrics"


def wrong_gradient_dpo(pc, pr, rc, rr, beta):
    return torch_dpo(pc, pr.detach() + 0.5 * (pr - pr.detach()), rc, rr, beta)


def brought_by(function, loss="dpo", **options):
    return Brought("mine:it", function, loss, **options)


def test_a_numpy_loss_is_measured_and_right():
    """Losses of single pairs are averaged; the ratio is to this package."""
    report = measure_brought(brought_by(numpy_dpo), [8, 64], SMALLEST)
    assert [(m.contender, m.parameters["n"]) for m in report.measurements] == [
        ("pbde_ref", 8), ("mine:it", 8), ("pbde_ref", 64), ("mine:it", 64),
    ]  # fmt: skip
    assert wrong_values(report, "float64") == []
    assert max(m.tracked["value_error"] for m in report.measurements if m.tracked) < 1e-14
    assert "mine:it" in as_text(report)


def test_this_packages_own_loss_is_right():
    """What returns a `BatchLoss` has its gradients checked too."""
    report = measure_brought(brought_by(pb.ipo_loss, "ipo", parameters={"tau": 0.3}), [32], SMALLEST)
    assert report.measurements[1].tracked == {"value_error": 0.0, "gradient_error": 0.0}


def test_a_wrong_loss_is_noticed():
    """A sign, a factor of 1 + 1e-6, NaN: each is reported with its size."""

    def sign(pc, pr, rc, rr, beta):
        return numpy_dpo(pc, pr, -rc, rr, beta)

    def factor(pc, pr, rc, rr, beta):
        return (1.0 + 1e-6) * numpy_dpo(pc, pr, rc, rr, beta)

    def nan(pc, pr, rc, rr, beta):
        return np.nan

    calls = []

    def from_the_fifth_call_on(pc, pr, rc, rr, beta):
        calls.append(0)
        return numpy_dpo(pc, pr, rc, rr, beta) + (len(calls) >= 5)

    kept = {}

    def kept_by_size(pc, pr, rc, rr, beta):
        return kept.setdefault(len(pc), numpy_dpo(pc, pr, rc, rr, beta))

    for wrong in (sign, factor, nan, from_the_fifth_call_on, kept_by_size):
        lines = wrong_values(measure_brought(brought_by(wrong), [16], SMALLEST), "float64")
        assert len(lines) == 1
        assert "where 1e-09 is allowed in float64" in lines[0]


@needs_torch
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_torch_loss_is_measured_with_and_without_gradients(dtype):
    """The first element of a tuple is the loss; its own gradients are checked."""
    report = measure_brought(brought_by(torch_dpo, dtype=dtype), [16], SMALLEST)
    assert [m.contender for m in report.measurements] == ["pbde_ref", "mine:it", "mine:it, no gradients"]
    assert set(report.measurements[1].tracked) == {"value_error", "gradient_error"}
    assert wrong_values(report, dtype) == []


@needs_torch
def test_a_wrong_gradient_is_noticed():
    """Control: the value is right, half of one gradient is missing."""
    report = measure_brought(brought_by(wrong_gradient_dpo), [16], SMALLEST)
    assert ["gradient error" in line for line in wrong_values(report, "float64")] == [True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: brought_by(numpy_dpo, "dice"), r"`loss` must be one of bradley_terry, .*; got 'dice'"),
        (lambda: brought_by(numpy_dpo, framework="x"), r"`framework` must be one of auto, numpy, torch; got 'x'"),
        (lambda: brought_by(numpy_dpo, dtype="float16"), r"`dtype` must be one of float64, float32; got 'float16'"),
        (lambda: brought_by(numpy_dpo, parameters={"tau": 1}), r"`parameters` must be those of dpo_loss; got 'tau'"),
        (lambda: loss_called("mine:loss"), r"`loss` must be given \(one of .*\), as .* got 'mine:loss'"),
        (lambda: measure_brought(brought_by(lambda: 0), [4], SMALLEST),
         r"`function` must take \(policy_chosen, .*\); got with numpy: TypeError"),
        (lambda: measure_brought(brought_by(lambda *a, **k: "x", framework="numpy"), [4], SMALLEST),
         r"`function` must return a loss, or a tuple starting with it; got 'x'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_named(make, message):
    """Which argument, which rule, what came."""
    with pytest.raises(ValueError, match=message):
        make()


# --- the command ---


MINE = f"""
import os
import numpy as np

{inspect.getsource(numpy_dpo)}

def dpo_loss(*arrays, beta):
    return numpy_dpo(*arrays, beta)

def wrong_dpo(*arrays, beta):
    return 2.0 * numpy_dpo(*arrays, beta).mean()

def dpo_exits(*arrays, beta):
    os._exit(0)

def dpo_nan(*arrays, beta):
    return float("nan")
"""


@pytest.fixture
def command(monkeypatch, tmp_path):
    """``pbde-ref bench`` with a module `mine` to bring losses from."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    parser = Parser(prog="pbde-ref bench")
    bench.add_arguments(parser)
    return lambda *arguments: bench.run(parser.parse_args(list(arguments)))


def test_command_measures_a_function(command, tmp_path, capsys):
    """Exit status 0 with table, JSON and plot; 1 if the loss is wrong."""
    json_path, plot, document = (tmp_path / name for name in ("b.json", "b.png", "b.md"))
    status = command("--function", "mine:dpo_loss", "--quick", "--sizes", "8,64", "--set", "beta=0.5",
                     "--json", str(json_path), "--plot", str(plot), "--markdown", str(document))  # fmt: skip
    assert status == 0
    assert "mine:dpo_loss" in capsys.readouterr().out
    assert len(json.loads(json_path.read_text("utf-8"))["measurements"]) == 4
    assert plot.exists()
    assert "| n " in document.read_text("utf-8")
    assert command("--function", "mine:wrong_dpo", "--quick", "--sizes", "8") == 1
    assert "WRONG  mine:wrong_dpo, n = 8: value error 1.0e+00" in capsys.readouterr().out
    assert command("--function", "mine:dpo_exits", "--quick", "--sizes", "8") == 1
    assert "WRONG  mine:dpo_exits: it ended the process with exit status 0" in capsys.readouterr().out
    assert command("--function", "mine:dpo_nan", "--quick", "--sizes", "8", "--json", str(json_path)) == 1
    tracked = [m["tracked"] for m in json.loads(json_path.read_text("utf-8"))["measurements"]]
    assert {"value_error": None} in tracked


def test_command_runs_suites(command, monkeypatch, capsys):
    """`--suite` and `--quick` reach the runner."""
    asked = []
    monkeypatch.setattr(bench, "run_suites", lambda *a, **k: asked.append((a, k)) or report_of(measurement(n=3)))
    assert command("--suite", "samplers, estimation", "--quick", "--no-memory") == 0
    assert command() == 0
    assert asked == [
        ((["samplers", "estimation"], "quick"), {"memory": False}),
        ((list(SUITES), "full"), {"memory": True}),
    ]
    assert "title" in capsys.readouterr().out


def test_command_compares_reports(command, monkeypatch, tmp_path, capsys):
    """With one report the suites are measured; with two nothing is. Exit status 1 if something became slower."""
    for name, times in (("old", [1.0, 1.0]), ("new", [1.0, 2.0])):
        (tmp_path / f"{name}.json").write_text(json.dumps(runs(times).as_dict()))
    old, new = str(tmp_path / "old.json"), str(tmp_path / "new.json")
    assert command("--compare", old, old) == 0
    assert command("--compare", old, new) == 1
    assert "Linear kernel sum  n 1" in capsys.readouterr().out
    monkeypatch.setattr(bench, "run_suites", lambda *a, **k: runs([2.0, 1.0]))
    assert command("--compare", old) == 1
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="must name a report"):
        command("--compare", str(tmp_path / "other.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "dice"], "argument --suite: unknown suite"),
        (["--suite", ","], "argument --suite: names no suite"),
        (["--sizes", "0"], "argument --sizes: must be from 1 to 1099511627776; got 0"),
        (["--sizes", "x"], "argument --sizes: must be a whole number; got 'x'"),
        (["--set", "beta"], "argument --set: must be a name, = and a number; got 'beta'"),
        (["--plot", "x.txt"], "argument --plot: `path` must end in one of .png, .pdf, .svg; got 'x.txt'"),
        (["--json", "missing/x.json"], "argument --json: cannot be written to: the folder does not exist"),
        (["--json", ""], "argument --json: `path` must be the name of a file; got ''"),
        (["--set", "beta=nan"], "argument --set: must be finite; got 'nan'"),
    ],
)
def test_command_refuses_wrong_options(command, capsys, arguments, message):
    """One line, exit status 2."""
    with pytest.raises(SystemExit, match="2"):
        command(*arguments)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--function", "mine:dpo_loss", "--suite", "samplers"], r"--suite does not go with it"),
        (["--function", "mine:nothing", "--loss", "dpo"], r"cannot be found"),
    ],
)
def test_command_refuses_before_measuring(command, monkeypatch, arguments, message):
    """What cannot end well does not begin."""
    monkeypatch.setattr(bench, "run_suites", lambda *a, **k: pytest.fail("measured"))
    with pytest.raises(ValueError, match=message):
        command(*arguments)
