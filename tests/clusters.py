"""A Dask cluster of this machine's, for tests: one for all of them, since starting it takes longer than they do."""

import pytest


@pytest.fixture(scope="session")
def dask_cluster():
    """Two workers, processes with a thread each, that are started anew if they die."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def dask_executor(dask_cluster):
    """Its executor."""
    with dask_cluster.get_client() as client:
        yield client.get_executor()
