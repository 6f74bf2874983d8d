"""Foreign code in a process of its own: whatever it does is said to be its doing, and nothing stays behind."""

import os
import random
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from pbde_ref.foreign import MOST_OUTPUT, Answer, ask_child, raised, watched

TASKS = """
import os, signal, sys, threading, time

def answers(request, reached):
    print("to nobody's harm")
    return [request, sys.stdin.read(), os.getcwd()]

def refuses(request, reached):
    raise ValueError("`request` must be something else")

def exits(request, reached):
    reached("while it was tried")
    sys.exit(0)

def exits_at_once(request, reached):
    os._exit(0)

def is_killed(request, reached):
    os.kill(os.getpid(), signal.SIGSEGV)

def raises(request, reached):
    raise ArithmeticError("x" * 1000)

def loops(request, reached):
    while True:
        pass

def floods(request, reached):
    while True:
        os.write(1, b"x" * 2**20)

def forks(request, reached):
    os.fork()
    return "once"

def leaves_processes_and_threads(request, reached):
    if os.fork() == 0:
        time.sleep(1000)
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return os.getpid()

def closes_everything(request, reached):
    sys.stdout.close()
    sys.stderr.close()
    os.close(1)
    os.close(2)
    return "said"

def forges(request, reached):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'{"answer": "all is well", "notes": 5}\\n' + b"[" * 100_000)
        except OSError:
            pass
    if request == "and ends":
        os._exit(0)
    return "said"

def has_no_word(request, reached):
    return object()
"""

FAULTS = {
    "exits": "it called sys.exit(0) while it was tried",
    "exits_at_once": "it ended the process with exit status 0 while Python started",
    "is_killed": "it ended the process by SIGSEGV while Python started",
    "raises": f"it raised ArithmeticError: {'x' * 300} while Python started",
    "loops": "it did not end within 3 s while Python started",
    "floods": f"it wrote more than {MOST_OUTPUT >> 20} MiB of output while Python started",
}


@pytest.fixture
def ask(tmp_path, monkeypatch):
    (tmp_path / "tasks_of_this_test.py").write_text(TASKS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda name, request=None, timeout=60.0: ask_child(f"tasks_of_this_test:{name}", request, timeout=timeout)


def test_an_answer_that_the_code_writes_itself_is_none(ask):
    """It may write into all descriptors that it finds."""
    assert ask("forges", "and ends").fault == FAULTS["exits_at_once"]
    assert ask("forges").value == "said"


def test_an_error_without_words_is_told():
    class MuteError(Exception):
        def __str__(self):
            raise SystemExit

    assert raised(MuteError()) == "MuteError: (an error that raises when asked what it says)"
    assert len(raised(type("E" * 1000, (Exception,), {})("x\n" * 1000))) == 402


def test_an_answer_comes_back(ask, capsys):
    answer = ask("answers", {"β": [1, None]})
    assert answer == Answer([{"β": [1, None]}, "", os.getcwd()], "", "", ())
    assert capsys.readouterr() == ("", "to nobody's harm\n")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told(ask, name):
    """Control: each of them would have ended, or held up, this process."""
    answer = ask(name, timeout=3.0 if name == "loops" else 60.0)
    assert (answer.value, answer.refused, answer.fault) == (None, "", FAULTS[name])


def test_what_is_refused_is_no_fault(ask):
    assert ask("refuses").refused == "`request` must be something else"
    assert "not JSON serializable" in ask("has_no_word").refused
    assert ask("nowhere").fault.startswith("it raised AttributeError")


def test_copies_and_leftovers_end(ask):
    assert ask("forks").value == "once"
    assert ask("forks").notes == ("started 1 processes by fork",)
    began = time.monotonic()
    group = ask("leaves_processes_and_threads").value
    assert time.monotonic() - began < 30.0
    deadline = time.monotonic() + 10.0
    while processes_of_group(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of_group(group)


def processes_of_group(group):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state != "Z":
            found.append(path)
    return found


def test_closed_streams_hide_nothing(ask):
    assert ask("closes_everything").value == "said"


def test_what_changes_for_everybody_is_put_back_and_told():
    found, filters = set(), list(warnings.filters)
    states = np.random.get_state()[1].copy(), random.getstate(), np.geterr(), np.get_printoptions()  # noqa: NPY002
    with watched(found):
        pass
    assert found == set()


    def change_all():
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        np.seterr(all="raise")
        np.set_printoptions(precision=1)
        warnings.simplefilter("ignore")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), watched(found):
        change_all()
    assert {line.split("(")[0] for line in found} == {
        "changed NumPy's global generator ", "changed Python's global generator ", "changed NumPy's error settings ",
        "changed NumPy's print options ", "changed the warnings filter",
    }  # fmt: skip
    assert (np.random.get_state()[1] == states[0]).all()  # noqa: NPY002
    assert (random.getstate(), np.geterr(), np.get_printoptions()) == states[1:]
    assert warnings.filters == filters
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)


def test_the_frameworks_settings_too():
    torch = pytest.importorskip("torch")
    found = set()
    with watched(found):
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(1)
        torch.set_grad_enabled(False)
    assert len(found) == 3
    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled()
