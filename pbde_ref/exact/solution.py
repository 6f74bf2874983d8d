"""Another way to `pbde_ref.exact.results`."""

from pbde_ref.exact.results import Certificate, Solution

__all__ = ["Certificate", "Solution"]
