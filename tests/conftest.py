"""What tests of several folders are given."""

from tests.clusters import dask_cluster, dask_executor

__all__ = ["dask_cluster", "dask_executor"]
