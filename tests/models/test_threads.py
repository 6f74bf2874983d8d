"""Work in threads: order, exceptions, and the number of BLAS threads."""

import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pbde_ref.models.threads import map_in_threads


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("threads", [1, 2])
def test_results_are_in_order_and_blas_has_one_thread(threads):
    """Inside, BLAS has one thread; afterwards it has as many as before."""
    with threadpool_limits(threads, user_api="blas"):
        before = blas_threads()
        found = map_in_threads(lambda i: (i, max(blas_threads(), default=1)), range(20))
        assert found == [(i, 1) for i in range(20)]
        assert blas_threads() == before


def test_there_are_several_threads():
    """Two items that wait for each other both arrive."""
    meeting = threading.Barrier(2, timeout=20.0)
    with threadpool_limits(2, user_api="blas"):
        if max(blas_threads(), default=1) < 2:
            pytest.skip("this BLAS library has one thread")
        map_in_threads(lambda _: meeting.wait(), range(2))


def test_an_exception_is_raised_and_leaves_everything_as_it_was():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda i: 1 / i, [1, 0, 2])
    assert blas_threads() == before
    assert map_in_threads(abs, [-1]) == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_after_an_exception_no_other_item_is_begun(threads):
    begun = []

    def fail(i):
        begun.append(i)
        raise ArithmeticError(i)

    with threadpool_limits(threads, user_api="blas"), pytest.raises(ArithmeticError):
        map_in_threads(fail, range(50))
    assert len(begun) <= threads


def test_callers_take_turns():
    """Two callers at once neither mix up their results nor the number of BLAS threads."""
    before, found = blas_threads(), {}
    callers = [
        threading.Thread(target=lambda k=k: found.update({k: map_in_threads(lambda i: i * k, range(200))}))
        for k in (1, 2, 3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == {k: [i * k for i in range(200)] for k in (1, 2, 3)}
    assert blas_threads() == before
