"""A Dask cluster of this machine's, for tests."""

from contextlib import contextmanager

import pytest


@contextmanager
def dask_cluster():
    """Two workers, processes with a thread each, that are started anew if they die."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@contextmanager
def dask_executor():
    """Its executor."""
    with dask_cluster() as cluster, cluster.get_client() as client:
        yield client.get_executor()
