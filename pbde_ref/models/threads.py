"""One function on several parts of the work, in as many threads as the BLAS library would use.

A thread for each part uses the cores better than threads inside each product of matrices: everything between the
products runs in parallel too, and no thread waits for another at every product. While parts are computed, BLAS itself
has one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from pbde_ref.threads import in_threads, keep_freed_memory

__all__ = ["keep_freed_memory", "map_in_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# The number of BLAS threads belongs to the process: two callers that set and restored it at once would mix it up.
_BLAS_LIMIT = threading.Lock()


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    keep_freed_memory()
    return ThreadpoolController().select(user_api="blas")


def map_in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``[function(item) for item in items]``, in parallel; after an exception no other item is begun, and it is raised.

    The number of threads is that of BLAS, which the usual settings (such as ``OPENBLAS_NUM_THREADS``) limit; the
    calling thread is one of them. The result does not depend on it. Callers in several threads wait for each other, so
    `function` must not come here again.

    Examples
    --------
    >>> from pbde_ref.models.threads import map_in_threads
    >>> map_in_threads(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    with _BLAS_LIMIT:
        controller = _controller()
        threads = max((library["num_threads"] for library in controller.info()), default=1)
        with controller.limit(limits=1):
            return in_threads(function, items, threads)
