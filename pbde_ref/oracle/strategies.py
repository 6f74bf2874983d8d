"""Another way to `pbde_ref.strategies`."""

from pbde_ref.strategies import *  # noqa: F403
