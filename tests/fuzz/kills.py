"""Long work that is killed, robbed of its disk, mixed with another run in its folder, and whose pieces are damaged.

``python -m tests.fuzz.kills --kills 50`` prints each kind of fault once. Whatever happened before: the same command,
given again and left alone, ends with the bytes of an undisturbed run, and no process outlives a killed one.
"""

import contextlib
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pbde_ref.cli import main
from pbde_ref.threads import one_blas_thread
from tests.fuzz import harness
from tests.fuzz.commands import ROOT, adopting, leftovers, orphans, sentences
from tests.fuzz.harness import MOST_CHARACTERS, Faults

TOY = ["reproduce", "figure-8", "--preset", "quick", "--out", "out", "--json", "out/numbers.json"]
TOY += [f"--set={s}" for s in ("grid=32", "comparisons=512", "width=8", "layers=2", "steps=60", "pretraining_steps=64")]
LANGUAGE = ["reproduce", "language", "--preset", "quick", "--corpus", "text", "--out", "out", "--json", "out/n.json"]
LANGUAGE += [f"--set={s}" for s in (
    "vocabulary=40", "embedding_dim=16", "layers=1", "heads=2", "mlp_dim=32", "whole_steps=120", "short_steps=110",
    "long_steps=120", "learning_rate=0.01", "warmup_steps=5", "tokens_per_batch=512", "pairs=64", "table_sentences=128",
    "samples=48", "pairs_per_step=16",
)]  # fmt: skip
VERIFY = ["verify", "--claims", "winners,connected_proposals", "--support", "16", "--repetitions", "1"]
VERIFY += ["--journal", "out/journal", "--json", "out/verdicts.json"]


@dataclass(frozen=True)
class Work:
    """A command in pieces, with two settings that may share a folder."""

    words: tuple[str, ...]
    settings: tuple[tuple[str, ...], tuple[str, ...]]
    pieces: str
    processes: str = ""


WORKS = {
    "toy": Work(tuple(TOY), (("--seed=0",), ("--seed=1",)), "runs/**/*.json", "--jobs"),
    "language": Work(tuple(LANGUAGE), (("--seed=0",), ("--seed=1",)), "runs/**/*"),
    "verify": Work(tuple(VERIFY), (("--seeds=0-5",), ("--seeds=0-5", "--support=17")), "journal", "--workers"),
    "vectors": Work(("vectors", "--out", "out", "--drawn", "0"), ((), ()), "*.json"),
}
BYTES = {"full disk": (64, 30_000)}


class Given:
    """The command, given once."""

    def __init__(self, work, settings, folder, processes, most_bytes=None):
        words = [*work.words, *settings, *([f"{work.processes}={processes}"] if work.processes else [])]

        def before():
            if most_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

        self.others = frozenset(orphans(session=-1))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pbde_ref", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}, start_new_session=True,
            preexec_fn=before,
        )  # fmt: skip

    def end(self):
        """Wait for it: status, stdout and stderr."""
        out, err = self.process.communicate(timeout=600.0)
        return self.process.returncode, out.decode(), err.decode()

    def kill(self):
        """End it as nobody can prevent; how many of its processes stay."""
        self.process.kill()
        # What stays holds the other end of the pipes.
        left = leftovers(self.process.pid, self.others)
        self.process.communicate()
        return left


def state_of(work, folder):
    """The finished pieces; the journal's are its lines."""
    found = sorted(p for p in (folder / "out").glob(work.pieces) if p.is_file() and not p.name.startswith("."))
    return {str(p): p.read_bytes() if p.name == "journal" else p.stat().st_mtime_ns for p in found}


def results(folder, out, only=None):
    """What a command left: its files, without times and temporary files, and what it printed."""
    found = {"stdout": out}
    for path in sorted((folder / "out").rglob("*")):
        name = str(path.relative_to(folder))
        # What a killed writer leaves has a name that begins with a dot.
        if path.is_file() and not path.name.startswith(".") and (only is None or name in only):
            found[name] = path.read_bytes()
            if path.name == "journal":
                # Lines come in the order in which processes finish.
                found[name] = sorted({_timeless(line) for line in found[name].decode().splitlines()})
            elif path.name == "verdicts.json":
                found[name] = _timeless(found[name].decode())
    return found


def _timeless(text):
    return re.sub(r'"(seconds|digest)": ("\w+"|[\d.e-]+)', "", text)


def furnished(place):
    """A new folder with the text to learn from."""
    folder = Path(tempfile.mkdtemp(dir=place))
    (folder / "text").write_text(sentences())
    (folder / "out").mkdir()
    return folder


def undisturbed(work, settings, place):
    """What the command leaves in a folder of its own, and how long it takes; in this process, which is loaded."""
    folder, began = furnished(place), time.monotonic()
    out, err = io.StringIO(), io.StringIO()
    given = [*work.words, *settings, *([f"{work.processes}=1"] if work.processes else [])]
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), one_blas_thread():
        assert main(given) == 0, err.getvalue()
    return results(folder, out.getvalue()), time.monotonic() - began


def damage(work, folder, rng):
    """Change a finished piece, or the places of two; in words what was done."""
    paths = [Path(name) for name in state_of(work, folder)]
    if not paths:
        return "nothing to damage"
    path, other = (paths[int(rng.integers(len(paths)))] for _ in range(2))
    content, way = path.read_bytes(), int(rng.integers(7))
    place = int(rng.integers(len(content) + 1))
    if way == 0 and content:
        place = min(place, len(content) - 1)
        content = content[:place] + bytes([content[place] ^ (1 << int(rng.integers(8)))]) + content[place + 1 :]
    elif way == 1:
        content = content[:place]
    elif way == 2:
        content, _ = other.read_bytes(), other.write_bytes(content)
    elif way == 3:
        digits = [m.start() for m in re.finditer(rb"\d", content)]
        place = digits[int(rng.integers(len(digits)))] if digits else 0
        content = content[:place] + b"%d" % int(rng.integers(10)) + content[place + 1 :]
    elif way == 4:
        content = b""
    elif way == 5:
        content = content.replace(b"0.", b"NaN", 1)
    else:
        path.unlink()
        return f"{path.name} is gone"
    path.write_bytes(content)
    return f"{path.name} damaged in way {way}"


def until_a_piece(given, work, folder):
    """Wait until the command has finished a piece that was not there before; whether it did."""
    before, deadline = state_of(work, folder), time.monotonic() + 300.0
    while time.monotonic() < deadline and given.process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if not state_of(work, folder).items() <= before.items():
                return True
        time.sleep(0.01)
    return False


def disturbed(work, right, seconds, kills, place, rng, processes_at_most=2):
    """What is wrong after so many kills, in words and with what was done; None if nothing. And how many kills."""
    folder, done, killed = furnished(place), [], 0
    mine = int(rng.integers(2))
    for _ in range(kills):
        which, processes = int(rng.integers(2)), int(rng.integers(1, processes_at_most + 1))
        given = [Given(work, work.settings[which], folder, processes)]
        if rng.random() < 0.3:
            # The other settings in the same folder at the same time.
            given.append(Given(work, work.settings[1 - which], folder, 1))
        advanced = until_a_piece(given[0], work, folder)
        time.sleep(float(rng.uniform(0.0, max(0.5 * seconds, 1.0))))
        left = sum(one.kill() for one in given)
        killed += advanced
        done.append(f"kill {len(given)} of settings {which}, {processes} processes")
        if left:
            return f"{left} processes outlive a killed command", done, killed
        if rng.random() < 0.5:
            done.append(damage(work, folder, rng))
        if rng.random() < 0.3:
            most = int(rng.integers(*BYTES["full disk"]))
            status, _, err = Given(work, work.settings[mine], folder, processes, most).end()
            done.append(f"files of at most {most} bytes: status {status}")
            lines = err.strip().splitlines()
            if status not in (0, 2) or "Traceback" in err or (status == 2 and len(lines[-1]) > MOST_CHARACTERS):
                return f"full disk: status {status}, {err[-200:]!r}", done, killed
            if status == 2 and "File too large: '" not in lines[-1]:
                return f"full disk: names no file: {lines[-1]!r}", done, killed
    status, out, err = Given(work, work.settings[mine], folder, int(rng.integers(1, processes_at_most + 1))).end()
    if status != 0 or "Traceback" in err:
        return f"given again: status {status}, {err[-300:]!r}", done, killed
    found = results(folder, out, set(right[mine]))
    wrong = [name for name in right[mine] if not _holds(found.get(name), right[mine][name])]
    return (f"other bytes than undisturbed: {wrong}" if wrong else None), done, killed


def _holds(found, right):
    # A journal may hold other campaigns' lines, too.
    return set(right) <= set(found or ()) if isinstance(right, list) else found == right


def fuzz(kills, seed, only=None, most=2):
    """Faults after so many kills, each after a piece was finished, of commands with at most so many processes."""
    rng, found, killed, turn = np.random.default_rng(seed), Faults(), 0, 0
    names = [name for name in WORKS if only is None or name in only]
    with tempfile.TemporaryDirectory() as place, adopting():
        alone = {n: [undisturbed(WORKS[n], settings, place) for settings in WORKS[n].settings] for n in names}
        while killed < kills:
            name = names[turn % len(names)]
            turn += 1
            right, seconds = [files for files, _ in alone[name]], alone[name][0][1]
            times = min(int(rng.integers(1, 5)), kills)
            wrong, done, more = disturbed(WORKS[name], right, seconds, times, place, rng, most)
            killed += more
            found.note((name, wrong), json.dumps(done))
    return found


if __name__ == "__main__":
    sys.exit(harness.main(fuzz, "kills", __doc__))
