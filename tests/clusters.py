"""A Dask cluster of this machine's, for tests."""

from contextlib import contextmanager

import pytest


@contextmanager
def dask_executor():
    """Of two workers, processes with a thread each, that are started anew if they die."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()
