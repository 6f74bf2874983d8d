"""What ``pbde-ref docket`` settles: published claims about learning from preferences, each with a control.

A topic is a module that holds a tuple of claims; it is listed here.
"""

from pbde_ref.docket.aggregation import AGGREGATION
from pbde_ref.docket.best_of_n import BEST_OF_N
from pbde_ref.docket.direct_losses import DIRECT_LOSSES
from pbde_ref.docket.divergences import DIVERGENCES
from pbde_ref.docket.general_preferences import GENERAL_PREFERENCES
from pbde_ref.docket.identification import IDENTIFICATION
from pbde_ref.docket.online import ONLINE
from pbde_ref.docket.record import FAILS, HOLDS, HOLDS_IF, DocketClaim, Finding, Settled, finding, settle

__all__ = ["DOCKET", "FAILS", "HOLDS", "HOLDS_IF", "DocketClaim", "Finding", "Settled", "finding", "settle"]

TOPICS = (GENERAL_PREFERENCES, BEST_OF_N, AGGREGATION, IDENTIFICATION, DIVERGENCES, DIRECT_LOSSES, ONLINE)
DOCKET = {claim.name: claim for topic in TOPICS for claim in topic}
