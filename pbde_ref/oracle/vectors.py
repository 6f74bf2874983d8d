"""Another way to `pbde_ref.vectors`."""

from pbde_ref.vectors.writing import *  # noqa: F403
