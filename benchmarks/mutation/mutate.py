"""Mutation testing of the exact core and the losses: break them in small ways, one at a time; see what the tests say.

    python benchmarks/mutation/mutate.py --out results.jsonl                  # measure, an hour or more on two cores
    python benchmarks/mutation/mutate.py --report results.jsonl               # write README.md's table from the results

Tests are collected once, and run once under a tracer to learn which test executes which line. Each mutant is then a
fork of that process in which the functions' code objects are replaced; the tests that execute the edited line run there
until one fails, the module's own tests first. What cannot be replaced (constants and defaults, which are computed at
import) is run in a fork that imports the package anew with the edited module; with ``--anew`` everything is.
"""

from __future__ import annotations

import argparse
import gc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType

ROOT = Path(__file__).resolve().parents[2]
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["HYPOTHESIS_PROFILE"] = "mutation"
os.chdir(ROOT)
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import autograd  # noqa: E402, F401  third-party packages are imported once, for all forks
import mpmath  # noqa: E402, F401
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import scipy.linalg  # noqa: E402
import scipy.optimize  # noqa: E402
import scipy.sparse.csgraph  # noqa: E402
import scipy.stats  # noqa: E402, F401
from hypothesis import HealthCheck, Phase, settings  # noqa: E402
from mutations import Mutant, mutants_of  # noqa: E402
from report import write_report  # noqa: E402

# No example is made smaller: that it fails is all there is to know.
settings.register_profile("mutation", deadline=None, derandomize=True, max_examples=60, database=None,
                          phases=[Phase.explicit, Phase.generate],
                          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip

FLAT = ["numerics", "distributions", "pbde", "annotators", "proposals", "pairs", "objectives"]
# The tests that speak about a module, where they do not bear its name.
TESTS = {
    "pairs": "exact/test_expected", "exact/linear_time/close_kernel_sums": "exact/linear_time/test_kernel_sums",
    "exact/linear_time/panel_grid": "exact/linear_time/test_panels", "exact/results": "exact/test_minimizers",
    "exact/pair_flows": "test_laplacian", "exact/laplacian": "test_laplacian",
    "exact/projection": "exact/test_minimizers", "exact/flow_certificate": "test_flow_certificate",
    "exact/maximum_flow": "exact/ranking/test_programme",
}  # fmt: skip
ALL_TESTS = [
    *(f"test_{name}" for name in FLAT if name != "pairs"), "exact", "losses", "test_theorems", "test_bridge",
    "test_paper_problem", "test_laplacian", "test_flow_certificate", "test_certificates", "test_extremes",
]  # fmt: skip
# Seconds of the tests' own CPU time that one mutant is given, and what is added for a slower machine state.
BUDGET, GRACE = 8.0, 5.0
MEMORY = 8 * 2**30


def modules() -> dict[str, Path]:
    """The modules in question: name below the package, and file."""
    package = ROOT / "pbde_ref"
    files = [*(package / f"{name}.py" for name in FLAT)]
    for folder in ("losses", "exact"):
        files += sorted(path for path in (package / folder).rglob("*.py") if path.stem != "__init__")
    return {path.relative_to(package).with_suffix("").as_posix(): path for path in files}


def own_tests(name: str) -> list[str]:
    """The files whose tests speak about a module: its own examples, its test file, those of a room within a room."""
    place = Path("tests") / name
    named = Path("tests") / f"{TESTS[name]}.py" if name in TESTS else place.with_name(f"test_{place.name}.py")
    tests = [named] if (ROOT / named).exists() else []
    if not tests or name.count("/") > 1:
        room = sorted(path.relative_to(ROOT) for path in (ROOT / place.parent).glob("test_*.py"))
        tests += [path for path in room if path not in tests]
    return [f"pbde_ref/{name}.py", *(path.as_posix() for path in tests)]


# Processes


def in_forks(jobs: Iterable[tuple[object, Callable[[], str], float]], workers: int) -> Iterator[tuple[object, str]]:
    """Each job's answer from a process of its own: what it returned, or why it ended."""
    running: dict[int, tuple[object, int, float]] = {}
    pending = iter(jobs)
    more, clock, before = True, 0.0, time.monotonic()
    while more or running:
        # A clock that stands while everything here is suspended.
        now = time.monotonic()
        clock, before = clock + min(now - before, 1.0), now
        while more and len(running) < workers:
            job = next(pending, None)
            if job is None:
                more = False
                break
            reading, writing = os.pipe()
            process = os.fork()
            if process == 0:
                _child(job[1], job[2], writing)
            os.close(writing)
            running[process] = (job[0], reading, clock + 20.0 * job[2] + 60.0)
        process, status = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
        if process == 0:
            for late in [p for p, (_, _, until) in running.items() if clock > until]:
                os.kill(late, signal.SIGKILL)
            time.sleep(0.005)
            continue
        what, reading, _ = running.pop(process)
        with open(reading, encoding="utf-8") as pipe:
            said = pipe.read()
        if os.WIFSIGNALED(status):
            said = "time limit" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "crash"
        yield what, said


def _child(job: Callable[[], str], seconds: float, writing: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 3))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        said = job()
    except BaseException as error:  # whatever a mutant does to the test runner is a reaction to it
        said = f"error: {type(error).__name__}"
    os.write(writing, said.encode()[:60000])
    os._exit(0)


# Warm: the code of living functions is replaced


def run_items(session: pytest.Session, items: list[pytest.Item]) -> str:
    """The first test that fails, or nothing."""
    for i, item in enumerate(items):
        following = items[i + 1] if i + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return item.nodeid
    return ""


def codes_in(code: CodeType) -> dict[tuple[str, int], list[CodeType]]:
    """All code objects in one, by name and line."""
    found: dict[tuple[str, int], list[CodeType]] = defaultdict(list)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found[constant.co_qualname, constant.co_firstlineno].append(constant)
            for key, more in codes_in(constant).items():
                found[key] += more
    return found


def replace_code(mutant: Mutant, living: list[FunctionType]) -> None:
    """Give the edited code to all living functions of the module. Raises if it is not clear which is whose."""
    codes = codes_in(mutant.code())
    for function in living:
        ours = codes.get((function.__code__.co_qualname, function.__code__.co_firstlineno), [])
        if len(ours) == 1:
            function.__code__ = ours[0]
        elif len({c.co_code for c in ours}) > 1 or not ours:
            raise LookupError(function.__qualname__)


class Trace:
    """Which lines of the modules each test executes, and how long it takes."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.lines: dict[str, set[int]] = {str(path): set() for path in paths}

    def __call__(self, frame, event, argument):  # noqa: D102
        lines = self.lines.get(frame.f_code.co_filename)
        if lines is None:
            return None
        lines.add(frame.f_lineno)
        return self._line

    def _line(self, frame, event, argument):
        self.lines[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line


def traced(session: pytest.Session, paths: list[Path], target: Path) -> str:
    """Run all tests, write what each executes; the first failure, or nothing."""
    trace, seen = Trace(paths), []
    names = {str(path): name for name, path in modules().items()}
    for i, item in enumerate(session.items):
        following = session.items[i + 1] if i + 1 < len(session.items) else None
        for lines in trace.lines.values():
            lines.clear()
        began = time.process_time()
        sys.settrace(trace)
        threading.settrace(trace)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        sys.settrace(None)
        threading.settrace(None)
        if session.testsfailed:
            return item.nodeid
        seen.append({"seconds": time.process_time() - began,
                     "lines": {names[p]: sorted(lines) for p, lines in trace.lines.items() if lines}})  # fmt: skip
    target.write_text(json.dumps({"of": fingerprint(session), "tests": seen}), encoding="utf-8")
    return ""


def fingerprint(session: pytest.Session) -> int:
    """What a trace belongs to: the modules' text and the tests' names."""
    text = [path.read_text(encoding="utf-8") for path in modules().values()]
    return zlib.crc32("".join([*text, *(item.nodeid for item in session.items)]).encode())


class Warm:
    """A plugin that runs mutants where pytest would run the tests."""

    def __init__(self, chosen: dict[str, list[Mutant]], workers: int, record: Callable[..., None], log: Path) -> None:
        self.chosen, self.workers, self.record, self.log = chosen, workers, record, log

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Learn which test executes what, then run each mutant against those that execute it."""
        paths = modules()
        trace = self.log.with_suffix(".trace.json")
        if not trace.exists() or json.loads(trace.read_text(encoding="utf-8"))["of"] != fingerprint(session):
            answers = in_forks([(None, lambda: traced(session, list(paths.values()), trace), 3000.0)], 1)
            if failure := next(iter(answers))[1]:
                raise SystemExit(f"the tests fail without any mutant: {failure}")
        seen = json.loads(trace.read_text(encoding="utf-8"))["tests"]
        gc.collect()
        living: dict[str, list[FunctionType]] = defaultdict(list)
        for thing in gc.get_objects():
            if isinstance(thing, FunctionType):
                living[thing.__code__.co_filename].append(thing)
        gc.freeze()
        jobs = []
        for name, mutants in self.chosen.items():
            own = own_tests(name)
            covering = [(item, one["seconds"], set(one["lines"].get(name, ())))
                        for item, one in zip(session.items, seen, strict=True)]  # fmt: skip
            for mutant in mutants:
                if not mutant.inside:
                    self.record(name, mutant, "", "anew")
                    continue
                lines = set(mutant.lines)
                fit = sorted(((item.nodeid.split("::")[0] not in own, seconds, i, item)
                              for i, (item, seconds, executed) in enumerate(covering) if executed & lines),
                             key=lambda one: one[:3])  # fmt: skip
                total, items = 0.0, []
                for _, seconds, _, item in fit:
                    if total + seconds <= BUDGET or not items:
                        items.append(item)
                        total += seconds
                work = self._job(session, mutant, living[str(mutant.path)], items)
                jobs.append(((name, mutant, len(items)), work, 3.0 * total + GRACE))
        # Whoever stops early has a random sample of every module.
        jobs = [jobs[int(i)] for i in np.random.default_rng(0).permutation(len(jobs))]
        for (name, mutant, count), said in in_forks(jobs, self.workers):
            if said == "" and count == 0:
                self.record(name, mutant, "", "no test executes it")
            elif said == "cannot be replaced":
                self.record(name, mutant, "", "anew")
            else:
                self.record(name, mutant, said, "")
        return True

    @staticmethod
    def _job(session: pytest.Session, mutant: Mutant, living: list[FunctionType], items: list[pytest.Item]) -> Callable:
        def run() -> str:
            try:
                replace_code(mutant, living)
            except (LookupError, ValueError):
                return "cannot be replaced"
            return run_items(session, items)

        return run


# Cold: the package is imported with the edited module


class Importer(importlib.machinery.SourceFileLoader):
    """Finds and loads one module, edited."""

    def __init__(self, name: str, mutant: Mutant) -> None:
        super().__init__("pbde_ref." + name.replace("/", "."), str(mutant.path))
        self.mutant = mutant

    def find_spec(self, name, path=None, target=None):  # noqa: D102
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_code(self, name):  # noqa: D102
        return self.mutant.code()


class FirstFailure:
    """Remembers the first test, or the first file, that failed."""

    name = ""

    def pytest_runtest_logreport(self, report):  # noqa: D102
        if report.failed:
            self.name = self.name or report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def cold(name: str, mutant: Mutant) -> str:
    """The first of the module's own tests that fails with the edited module, or nothing."""
    sys.meta_path.insert(0, Importer(name, mutant))
    first = FirstFailure()
    status = pytest.main([*PYTEST, "-x", *own_tests(name)], plugins=[first])
    return "" if status == 0 else first.name or f"error: exit status {int(status)}"


PYTEST = ["-q", "-s", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]


def chosen_mutants(names: list[str], at_most: int, seed: int) -> tuple[dict[str, list[Mutant]], dict[str, int]]:
    """A random sample of each module's mutants, and how many there are."""
    chosen, counts = {}, {}
    for name in names:
        everything = mutants_of(modules()[name], name)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        places = np.sort(rng.permutation(len(everything))[:at_most])
        chosen[name], counts[name] = [everything[int(i)] for i in places], len(everything)
    return chosen, counts


def measure(options: argparse.Namespace) -> None:
    """Run the chosen mutants; one line of JSON for each in the results."""
    wanted = tuple(f"{module}/" for module in options.modules)
    names = [name for name in modules() if not wanted or f"{name}/".startswith(wanted)]
    chosen, counts = chosen_mutants(names, options.sample, options.seed)
    if options.only:
        results = [json.loads(line) for line in options.only.read_text(encoding="utf-8").splitlines()]
        survivors = {one["key"] for one in results if not one["killed_by"]}
        chosen = {name: [m for m in mutants if m.key in survivors] for name, mutants in chosen.items()}
    total, done = sum(map(len, chosen.values())), 0
    print(f"{total} of {sum(counts.values())} mutants in {len(names)} modules", file=sys.stderr)

    def record(name: str, mutant: Mutant, killed_by: str, note: str) -> None:
        nonlocal done
        done += 1
        line = {"module": name, "population": counts[name], "seed": options.seed, "operator": mutant.operator,
                "key": mutant.key, "line": mutant.lines.start, "killed_by": killed_by, "note": note}  # fmt: skip
        with open(options.out, "a", encoding="utf-8") as results:
            results.write(json.dumps(line, ensure_ascii=False) + "\n")
        if not killed_by:
            print(f"[{done}/{total}] survived, line {mutant.lines.start}: {mutant.key} {note}", file=sys.stderr)

    left, right = os.pipe()

    def warm() -> None:
        plugin = Warm(chosen, options.workers, lambda *a: os.write(right, _message(*a)), options.out)
        files = [*(f"pbde_ref/{n}.py" for n in modules()), *(f"tests/{t}" + ".py" * ("test_" in t) for t in ALL_TESTS)]
        pytest.main([*PYTEST, *files], plugins=[plugin])

    everything = [(name, mutant) for name, mutants in chosen.items() for mutant in mutants]
    again = everything if options.anew else []
    # The warm process speaks through a pipe, because this one must not have imported the package.
    process = os.fork()
    if process == 0:
        os.close(left)
        if not options.anew:
            warm()
        os.close(right)
        os._exit(0)
    os.close(right)
    by_key = {mutant.key: (name, mutant) for name, mutant in everything}
    with open(left, encoding="utf-8") as pipe:
        for line in pipe:
            key, killed_by, note = json.loads(line)
            name, mutant = by_key[key]
            again.append((name, mutant)) if note == "anew" else record(name, mutant, killed_by, note)
    os.waitpid(process, 0)
    print(f"{len(again)} mutants are imported anew", file=sys.stderr)
    jobs = (((n, m), lambda n=n, m=m: cold(n, m), 3.0 * BUDGET + GRACE) for n, m in again)
    for (name, mutant), said in in_forks(jobs, options.workers):
        record(name, mutant, said, "")


def _message(name: str, mutant: Mutant, killed_by: str, note: str) -> bytes:
    return (json.dumps([mutant.key, killed_by, note]) + "\n").encode()


def main() -> None:
    """Measure or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", nargs="*", default=[], help="such as numerics exact/expected losses; default all")
    parser.add_argument("--sample", type=int, default=40, help="at most so many mutants of each module (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results.jsonl"), help="appended to (%(default)s)")
    parser.add_argument("--only", type=Path, help="only those that survived in these results")
    parser.add_argument("--anew", action="store_true", help="import the package anew for each mutant")
    parser.add_argument("--report", type=Path, nargs="+", help="write README.md from these results, run nothing")
    options = parser.parse_args()
    write_report(options.report) if options.report else measure(options)


if __name__ == "__main__":
    main()
