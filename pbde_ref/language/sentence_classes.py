"""Another way to `pbde_ref.exact.lengths.sentence_classes`."""

from pbde_ref.exact.lengths.sentence_classes import *  # noqa: F403
