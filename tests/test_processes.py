"""Who computes changes nothing: this process, others, threads, or a Dask cluster one of whose workers is killed."""

import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import pytest

from pbde_ref.processes import MOST_AHEAD, Call, finished, in_order, process_pool
from tests.lethal import divide, doomed, share
from tests.seeds import drawn_seed


@pytest.fixture(params=["processes", "threads", "dask"])
def workers(request):
    if request.param == "processes":
        yield 2
    elif request.param == "threads":
        with ThreadPoolExecutor(3) as executor:
            yield executor
    else:
        yield request.getfixturevalue("dask_executor")


def test_sums_have_the_same_digits_whoever_is_killed(workers, tmp_path):
    seed = drawn_seed()
    alone = list(in_order((share, (seed, number)) for number in range(3 * MOST_AHEAD)))
    assert alone == [share(seed, number) for number in range(3 * MOST_AHEAD)]
    killing = None if isinstance(workers, ThreadPoolExecutor) else str(tmp_path)
    found = list(in_order(((share, (seed, number, killing)) for number in range(3 * MOST_AHEAD)), workers))
    assert found == alone
    assert (tmp_path / "killed").exists() == (killing is not None)
    # Another order has other digits, so that the equality above says something.
    assert len({sum(alone), sum(alone[::-1]), sum(sorted(alone)), sum(sorted(alone, key=abs))}) > 1


def test_ctrl_c_waits_until_a_process_has_begun(monkeypatch):
    """A process that was told half of what it is ended with a traceback."""
    reached = []

    def submit(self, function, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        reached.append(function)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    with pytest.raises(KeyboardInterrupt), process_pool(1) as pool:
        pool.submit(abs, -3)
    assert reached == [abs]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_errors_arrive_as_they_are(workers):
    calls = iter([Call(by, divide, (by,)) for by in (1, 0, 2)])
    with pytest.raises(ZeroDivisionError):
        list(finished(partial(next, calls, None), workers))


def late_error(seconds, text):
    time.sleep(seconds)
    raise ValueError(text)


def test_the_first_error_is_heard_whichever_comes_first():
    calls = [(abs, (-1,)), (late_error, (0.2, "first")), (late_error, (0.0, "second"))]
    with ThreadPoolExecutor(3) as executor, pytest.raises(ValueError, match="first"):
        list(in_order(calls, executor))


def test_calls_may_wait_for_others(workers):
    """The second call is there once the first has been looked at."""
    waiting, found = [Call("first", divide, (4,))], {}
    for key, result in finished(lambda: waiting.pop() if waiting else None, workers):
        found[key] = result
        if key == "first":
            waiting.append(Call("second", divide, (result,)))
    assert found == {"first": 0.25, "second": 4.0}


def test_a_call_that_always_ends_its_process_is_given_up():
    calls = iter([Call("the doomed one", doomed)])
    with pytest.raises(ChildProcessError, match="a process ended 3 times while it computed the doomed one"):
        list(finished(partial(next, calls, None), 2))


def test_an_executor_that_breaks_says_so():
    """It is not ours to start another one."""
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(in_order([(divide, (1,))], executor))
