"""Every command, rightly given but for an option, a word, its files, or the process that it runs in.

``python -m tests.fuzz.commands --commands 1000`` prints each kind of fault once, and the command that has it.

A command must end with status 0, 1 or 2 (141 if the reader of stdout or stderr went away), without a traceback, a
warning, a line of more than 300 characters on stderr, a process or a temporary file that stays; a wrong option is
named. What has much to do must end at Ctrl-C. Wrong losses never pass. """

import argparse
import contextlib
import ctypes
import os
import resource
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pbde_ref.cli import _parser
from tests.fuzz import harness
from tests.fuzz.harness import MOST_CHARACTERS, Faults

# Commands that run foreign code, and one more that says several things.
FOREIGN = ("check", "check-fitter", "bench", "reproduce")
ROOT = Path(__file__).parents[2]
MOST_MEMORY = 2**33
# Other work may leave a command a fifth of a processor.
PATIENCE = 5.0
SMALL_LANGUAGE = [f"--set={s}" for s in (
    "vocabulary=40", "embedding_dim=8", "layers=1", "heads=2", "mlp_dim=8", "whole_steps=4", "short_steps=4",
    "long_steps=4", "tokens_per_batch=128", "pairs=16", "table_sentences=32", "samples=16", "pairs_per_step=8",
)]  # fmt: skip
SMALL = [f"--set={s}" for s in ("grid=32", "comparisons=64", "width=4", "layers=1", "steps=20", "pretraining_steps=20")]
BASES = [
    ["verify", "--claims", "winners", "--support", "16", "--repetitions", "1"],
    ["verify", "--claims", "winners", "--support", "8", "--repetitions", "1", "--seeds", "3-4", "--journal", "journal"],
    ["optima", "--loss", "dpo", "--support", "16", "--beta", "0.5"],
    ["reproduce", "figure-8", "--preset", "quick", "--out", "toy", "--jobs", "1", *SMALL],
    ["reproduce", "language", "--show-settings", "--corpus", "text"],
    ["reproduce", "language", "--corpus", "text", "--preset", "quick", "--out", "language", *SMALL_LANGUAGE],
    ["fit", "votes.csv"],
    ["fit", "votes.jsonl", "--prior", "pseudo:1", "--annotator", "judge"],
    ["check", "subjects:right", "--loss", "reward"],
    ["check", "subjects:right", "subjects:wrong", "--loss", "reward"],
    ["check-fitter", "subjects:wrong", "--scale", "elo", "--anchor", "mean:0"],
    ["bench", "--function", "subjects:bradley_terry_loss", "--sizes", "64", "--quick", "--no-memory"],
    ["sweep", "optimum", "--over", "beta=1,2", "--set", "size=16", "--out", "swept"],
    ["sweep", "subjects:numbers", "--over", "n=1,2", "--out", "own"],
    ["process", "pairs.csv"],
    ["docket", "--claim", "best_of_n_kl_equality"],
    ["explore", "--out", "page.html"],
    ["comparisons", "--nats", "0.1", "--support", "16"],
    ["design", "--criterion", "A", "--support", "16", "--json", "design.json"],
    ["vectors", "--out", "vectors"],
    ["list"],
]
# What they ask for may take hours, rightly.
LONG = {
    "--repetitions", "--support", "--seeds", "--claims", "--random-search", "--bootstrap", "--sizes", "--set", "--seed",
    "--mixture", "--suite", "--preset", "--loss", "--function", "--out", "subjects", "target", "--n-outcomes",
    "--returns-gradients", "--corpus", "--timeout", "--controls", "--problem", "experiment", "--over", "--simulate",
    "--pairs", "--scheduler",
}  # fmt: skip

SUBJECTS = '''
import ctypes, os, signal, subprocess, sys, threading, time
import numpy as np
import pbde_ref

def right(chosen, rejected):
    return np.logaddexp(0.0, rejected - chosen).mean()

def bradley_terry_loss(chosen, rejected, **options):
    return pbde_ref.bradley_terry_loss(chosen, rejected, **options)

def numbers(n=1):
    return {"square": n**2}

def wrong(chosen, rejected):
    return -right(chosen, rejected)

def _then(act):
    def function(chosen, rejected, *others, **more):
        act()
        return 0.0
    return function

class Own(BaseException):
    def __str__(self):
        raise Own

class Odd:
    def __getattr__(self, name):
        raise Own

def _raise(error):
    raise error

exits = _then(lambda: sys.exit(0))
exits_at_once = _then(lambda: os._exit(0))
crashes = _then(lambda: ctypes.string_at(0))
ends_its_group = _then(lambda: os.killpg(0, signal.SIGTERM))
stops = _then(lambda: os.kill(os.getpid(), signal.SIGSTOP))
interrupts = _then(lambda: _raise(KeyboardInterrupt()))
raises = _then(lambda: _raise(Own()))
recurses = _then(lambda: recurses(0, 0))
floods = _then(lambda: [os.write(2, b"\\xff\\n" * 2**20) for _ in range(200)])
closes = _then(lambda: os.closerange(0, 256))
forks = _then(os.fork)
starts = _then(lambda: subprocess.Popen(["sleep", "1000"]))
leaves_threads = _then(lambda: threading.Thread(target=time.sleep, args=(1000,)).start())
eats = _then(lambda: bytes(2**40))
moves = _then(lambda: os.chdir("/"))
returns_odd = lambda chosen, rejected, **more: Odd()
returns_much = lambda chosen, rejected, **more: np.zeros(10**6)
returns_text = lambda chosen, rejected, **more: "0.5" * 10**5
no_function = 3
odd = Odd()
'''
MODULES = {
    "subjects": SUBJECTS,
    "exits_when_imported": "import sys; sys.exit(0)",
    "ends_when_imported": "import os; os._exit(0)",
    "no_python": "def f(:",
    "no_text": "\0",
    "raises_when_imported": "raise type('E' * 1000, (Exception,), {})('x' * 10**6)",
    "numpy_random_gone": "import numpy; del numpy.random; f = lambda *a: 0.0",
    "prints": "print('PASSED ' * 10000); import sys; print('x', file=sys.stderr); f = lambda *a: 0.0",
    "at_exit": "import atexit, os; atexit.register(os._exit, 0); f = lambda *a: 0.0",
}
HOSTILE_SUBJECTS = [f"subjects:{line.split(' =')[0]}" for line in SUBJECTS.splitlines() if " = " in line[:24]] + [
    *(f"{name}:f" for name in MODULES), "nowhere:f", ":", "a:", ":f", "subjects:right.__class__", "os:getcwd",
    "subjects", "x" * 100_000 + ":f", "…:f", "subjects:\ud800", "..:f", "a" * 300 + ".b:f", "pbde_ref.cli:main",
]  # fmt: skip

VALUES = [
    "", " ", "0", "1", "2", "-1", "-0.5", "0.5", "1.5", "3", "16", "nan", "inf", "-inf", "1e308", "-1e308", "1e-308",
    "5e-324", "1e-9", "1e9", str(2**31), str(2**63), str(-(2**63)), str(2**64), "1" * 5000, "1_0", "٣", "0x10", "1e3",
    "text", "x" * 100_000, "a\nb", "a\tb", "\ud800", "\udcff", "α≻β", "%s%n{0}{x.y}", "$(false)", "--", "-",
    "--json",
    "a,b", ",", ",,,", "1,2", "0,0", "1,nan", "3-5", "5-3", "3-3", "0-99999999999999999999", "random", "=", "a=", "=1",
    "beta=0.5", "beta=nan", "beta=1e308", "beta=5e-324", "seed=1", "steps=0", "steps=1e9", "learning_rate=1e9",
    "grid=1",
    "learning_rate=1e300", "grid=99999999999", "width=0", "batch=-1", "sentences=1", "vocabulary=3", "layers=1000000",
    "comparisons=0", "none", "pseudo:1", "pseudo:1e308", "pseudo:nan", "gaussian:1e308", "gaussian:5e-324", "gaussian:",
    "utf-16", "rot13", "zip", "idna", "Eq. (10)", "tree 1", "winners", "winners,winners", "theorem_2", "dpo", "ipo",
    "slic", "per_example", "figure-8", "half", "davidson", "csv", "jsonl", "preflib", "parquet", "cdpo", "mean",
]  # fmt: skip
PATHS = [
    "missing", "missing/file", "folder", "folder/", "file/inside", "loop", "dangling", "link", "socket", "zero", "full",
    "null", "/proc/version/x", "/proc/nowhere", "n" * 300, "n/" * 3000, "votes.csv", "votes.jsonl", "deep.json",
    "deep.jsonl", "binary", "empty", "marks.md", "text", "x.png", "x.PDF", "x.svg", "x.bmp", "folder/x.png", "holes",
    "bomb.gz", "bomb.csv.gz", ".", "..", "/", "~/x", "journal", "wide.csv", "nul\ud800",
]  # fmt: skip

POOR = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
# Variables of the environment, streams that are closed or lead elsewhere, and limits.
SURROUNDINGS = [
    *[{}] * 14, {"variables": POOR}, {"variables": {"PYTHONIOENCODING": "cp1252"}}, {"variables": {"COLUMNS": "1"}},
    {"variables": {"COLUMNS": "x", "LINES": "-1"}}, {"variables": {"HOME": "/nowhere", "MPLCONFIGDIR": "/proc/x"}},
    {"variables": {"TMPDIR": "/nowhere"}}, {"variables": {"OMP_NUM_THREADS": "many"}}, {"variables": {"TERM": ""}},
    {"variables": {"PYTHONOPTIMIZE": "2"}}, {"variables": {"PYTHONWARNINGS": "error::RuntimeWarning"}},
    {"variables": {"LANG": "xx_YY.UTF-99", "LC_ALL": "xx_YY"}}, {"closed": (0,)}, {"closed": (1,)}, {"closed": (2,)},
    {"closed": (0, 1, 2)}, {"full": 1}, {"full": 2}, {"gone": 1}, {"gone": 2}, {"size": 0}, {"size": 100},
    {"size": 5000}, {"folder": "gone"},
]  # fmt: skip


def sentences():
    """Text that is enough to learn from, with sentences of all lengths."""
    words, rng = ["cold", "hot", "tea", "cup", "a", "the", "is", "on", "mat"], np.random.default_rng(0)
    lines = [" ".join(rng.choice(words, size=int(rng.integers(3, 36)))) for _ in range(600)]
    return "".join(f"{line.capitalize()}.\n" for line in lines)


def furnish(folder):
    """A folder with files, good and bad."""
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    rng = np.random.default_rng(0)
    rows = [(f"i{a}", f"i{b}", f"j{c}") for a, b, c in rng.integers(0, 4, (60, 3)) if a != b]
    (folder / "votes.csv").write_text("chosen,rejected\n" + "".join(f"{a},{b}\n" for a, b, _ in rows))
    lines = [f'{{"chosen": "{a}", "rejected": "{b}", "judge": "{c}"}}\n' for a, b, c in rows]
    (folder / "votes.jsonl").write_text("".join(lines))
    of_pairs = rng.normal(size=(40, 6))
    header = "chosen_logps,rejected_logps,ref_chosen_logps,ref_rejected_logps,chosen_length,rejected_length\n"
    pairs = "".join(",".join(map(str, [*-np.exp(row[:4]), *np.arange(2) + row[4:] ** 2])) + "\n" for row in of_pairs)
    (folder / "pairs.csv").write_text(header + pairs)
    (folder / "wide.csv").write_text(",".join("ab" * 50_000) + "\n" + ",".join("12" * 50_000))
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "deep.jsonl").write_text(lines[0] + '{"a":' * 100_000 + "\n" + lines[1])
    (folder / "binary").write_bytes(rng.bytes(5000))
    (folder / "empty").touch()
    (folder / "text").write_text(sentences())
    (folder / "marks.md").write_text("x\n<!-- measured: begin -->\ny\n<!-- measured: end -->\n")
    (folder / "bomb.gz").write_bytes(BOMB)
    (folder / "bomb.csv.gz").write_bytes(BOMB)
    (folder / "file").touch()
    (folder / "folder").mkdir()
    for name, target in (("loop", "loop"), ("dangling", "made"), ("link", "votes.csv")):
        (folder / name).symlink_to(target)
    with (folder / "holes").open("wb") as file:
        file.truncate(2**42)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    for name, minor in (("null", 3), ("zero", 5), ("full", 7)):
        with contextlib.suppress(OSError):
            # Private nodes: a fault would replace them by files.
            os.mknod(folder / name, 0o600 | stat.S_IFCHR, os.makedev(1, minor))


def _bomb():
    import gzip
    import io

    member = io.BytesIO()
    with gzip.GzipFile(fileobj=member, mode="wb", mtime=0) as file:
        file.write(bytes(2**26))
    return member.getvalue() * 100


BOMB = _bomb()


def actions_of(command):
    """The positional arguments and options of a command."""
    parser = _parser([command])
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return [a for a in subparsers.choices[command]._actions if not isinstance(a, argparse._HelpAction)]


def mutated(words, rng):
    """A command, and the options that were changed in it."""
    words, changed = list(words), []
    for _ in range(int(rng.integers(3))):
        actions = actions_of(words[0])
        way = int(rng.integers(12))
        if way == 0 and len(words) > 1:
            del words[int(rng.integers(1, len(words)))]
            changed.append("")
        elif way == 1:
            words.insert(int(rng.integers(1, len(words) + 1)), _value(rng))
            changed.append("")
        elif actions:
            action = actions[int(rng.integers(len(actions)))]
            if not action.option_strings:
                places = [i for i, word in enumerate(words) if i and not word.startswith("-")][:1]
                value = _value(rng, subject=action.dest in ("subjects", "experiment"))
                words[places[0] : places[0] + 1] = [value] if places else []
                changed.append(action.dest)
            else:
                option = action.option_strings[-1]
                words += [option] if action.nargs == 0 else [f"{option}={_value(rng, option == '--function')}"]
                changed.append(option)
    return words, changed


def _value(rng, subject=False):
    pool = HOSTILE_SUBJECTS if subject else (VALUES, PATHS)[int(rng.integers(2))]
    return pool[int(rng.integers(len(pool)))]


def ended(words, folder, surroundings, seconds=30.0):
    """Status of a command, whether it was late, what it said on stderr, how many processes stayed behind.

    Seconds are of the processors' time; one that works less than that may wait `PATIENCE` times as long.
    """
    out, err = folder.parent / "out", folder.parent / "err"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    environment |= surroundings.get("variables", {})
    leads = {1: os.open(out, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2: os.open(err, os.O_CREAT | os.O_WRONLY)}
    if "full" in surroundings:
        leads[surroundings["full"]] = os.open("/dev/full", os.O_WRONLY)
    if "gone" in surroundings:
        reader, leads[surroundings["gone"]] = os.pipe()
        os.close(reader)

    def before():
        # Ctrl-C is not heard where these tests run in a shell's background.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        if "size" in surroundings:
            resource.setrlimit(resource.RLIMIT_FSIZE, (surroundings["size"], surroundings["size"]))
        for number in surroundings.get("closed", ()):
            os.close(number)

    where = folder
    if surroundings.get("folder") == "gone":
        where = folder / "gone"
        where.mkdir()
    script = "import os, runpy, sys; sys.argv[0] = 'pbde-ref'; "
    script += "os.rmdir(os.getcwd()); " if where != folder else ""
    script += "sys.path.pop(0); from pbde_ref.cli import main; sys.exit(main())"
    ours = frozenset(orphans(session=-1))
    process = subprocess.Popen(
        [sys.executable, "-c", script, *(os.fsencode(_argument(word)) for word in words)], cwd=where, env=environment,
        stdin=subprocess.DEVNULL, stdout=leads[1], stderr=leads[2], preexec_fn=before, start_new_session=True,
    )  # fmt: skip
    for descriptor in leads.values():
        os.close(descriptor)
    late, deadline = False, time.monotonic() + PATIENCE * seconds
    while process.poll() is None and not late:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        late = time.monotonic() > deadline or worked(process.pid) > seconds
    status = process.poll()
    if late and status is None:
        process.send_signal(signal.SIGINT)
        try:
            status = process.wait(30.0)
        except subprocess.TimeoutExpired:
            status = None
            process.kill()
            process.wait()
    return status, late, err.read_text("utf-8", "replace"), leftovers(process.pid, ours)


def worked(session):
    """Seconds of the processors' time that the processes of a session have taken, those that have ended included."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _argument(word):
    # What no argument of a process can hold.
    return word.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape").replace("\0", "")


def leftovers(session, ours=frozenset(), patience=10.0):
    """Processes, except ours, that stayed behind for so many seconds; they are ended."""
    deadline = time.monotonic() + patience
    while (found := set(orphans(session)) - ours) and time.monotonic() < deadline:
        time.sleep(0.02)
    for number in found:
        with contextlib.suppress(OSError):
            os.kill(number, signal.SIGKILL)
    return len(found)


def orphans(session):
    """Of this session, or without a parent: those come to this process. The dead among them are buried."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    found, own = [], os.getpid()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, _, of_session = path.read_text().rpartition(")")[2].split()[:4]
            if state != "Z" and (int(of_session) == session or int(parent) == own):
                found.append(int(path.parent.name))
    return found


def fault(words, changed, surroundings):
    """What is wrong with how a command ends; None if nothing."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "work")
        folder.mkdir()
        furnish(folder)
        # All vectors took 63 seconds of a processor that was shared.
        seconds = (6 if words[0] == "vectors" else 2) * harness.SECONDS
        status, late, said, left = ended(words, folder, surroundings, seconds)
        temporary = [p.name for p in folder.rglob(".*") if p.name != ".cache"]
        special = [folder / name for name in ("null", "full", "zero", "link")]
        nodes = [path.name for path in special if path.is_file() and not path.is_symlink()]
    if late:
        if status is None:
            return "does not end at Ctrl-C"
        # A process that is about to end has no word for it any more.
        if status not in (130, 0, 1, 2, -signal.SIGINT) or "Traceback" in said:
            return f"Ctrl-C: status {status}, {said[-200:]!r}"
        return None if LONG & set(changed) else "hung"
    if left:
        return f"{left} processes stay behind"
    if temporary:
        return f"temporary files stay: {temporary}"
    if nodes:
        return f"{nodes} became files"
    if "Traceback" in said:
        return f"traceback: {said.strip().splitlines()[-1][:150]}"
    if "Warning" in said:
        return f"warning: {said[:200]!r}"
    allowed = (0, 1, 2, 141) if "gone" in surroundings else (0, 1, 2)
    if status not in allowed:
        return f"status {status}: {said[-200:]!r}"
    for line in said.splitlines():
        if len(line) > MOST_CHARACTERS and not line.startswith(("PASSED", "Matplotlib")):
            return f"a line of {len(line)} characters: {line[:100]!r}"
    subjects = [word.split("=")[-1] for word in words if words[0] in FOREIGN[:3]]
    if status == 0 and set(subjects) & set(HOSTILE_SUBJECTS):
        return "a wrong loss passes"
    if surroundings:
        return None
    if not changed and status != int("subjects:wrong" in words):
        return f"status {status} for a right command: {said[-200:]!r}"
    if status == 2 and len(said.strip().splitlines()) != 1 and words[0] not in FOREIGN:
        return f"{len(said.splitlines())} lines for a wrong use: {said[-200:]!r}"
    if status == 2 and len(changed) == 1 and not _named(changed[0], words, said):
        return f"does not name {changed[0]}: {said.strip()[-200:]!r}"
    return None


def _named(option, words, said):
    """Whether an error names the option, in a user's or in Python's spelling, or what it was given."""
    bare = option.lstrip("-")
    # A lone surrogate is not said as it was given.
    value = words[-1].partition("=")[2].partition("\ud800")[0] if option.startswith("--") else ""
    known = [option, bare.replace("-", "_"), *([value.partition("=")[0][:40]] if value.strip() else [])]
    return not bare or any(name in said for name in known) or bare in ("subjects", "target", "file")


@contextlib.contextmanager
def adopting():
    """Processes that lose their parent come to this one."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    try:
        yield
    finally:
        if libc is not None:
            libc.prctl(36, 0)


def fuzz(commands, seed, only=None):
    """Faults of so many commands."""
    rng, found = np.random.default_rng(seed), Faults()
    bases = [words for words in BASES if only is None or words[0] in only]
    with adopting():
        for number in range(commands):
            words, changed = mutated(bases[number % len(bases)], rng)
            surroundings = SURROUNDINGS[int(rng.integers(len(SURROUNDINGS)))]
            shown = shlex.join(word if len(word) < 200 else f"{word[:50]}…" for word in words)
            found.note((words[0], fault(words, changed, surroundings)), f"{shown} {surroundings or ''}")
    return found


if __name__ == "__main__":
    sys.exit(harness.main(fuzz, "commands", __doc__))
