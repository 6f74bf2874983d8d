"""Another way to `pbde_ref.exact.lengths.enumeration`."""

from pbde_ref.exact.lengths.enumeration import *  # noqa: F403
