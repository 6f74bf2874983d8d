"""What ``pbde-ref verify`` checks: every theorem and closed form, by two paths that share no code, with a control."""

from pbde_ref.verification.alternatives import ALTERNATIVES
from pbde_ref.verification.claims import Claim, Row, Verdict, check, joined
from pbde_ref.verification.closed_forms import CLOSED_FORMS
from pbde_ref.verification.closed_loops import CLOSED_LOOPS
from pbde_ref.verification.foundations import FOUNDATIONS
from pbde_ref.verification.lengths import LENGTHS
from pbde_ref.verification.losses_in_use import LOSSES_IN_USE
from pbde_ref.verification.misspecification import MISSPECIFICATION
from pbde_ref.verification.problems import Problem, problem_named, problem_names, problems
from pbde_ref.verification.prompts import PROMPTS
from pbde_ref.verification.reinforcement import REINFORCEMENT
from pbde_ref.verification.what_is_learnt import WHAT_IS_LEARNT

__all__ = [
    "CLAIMS", "Claim", "Problem", "Row", "Verdict", "check", "joined", "problem_named", "problem_names", "problems",
]  # fmt: skip

_LISTED = (
    *FOUNDATIONS, *CLOSED_FORMS, *ALTERNATIVES, *LOSSES_IN_USE, *MISSPECIFICATION, *LENGTHS, *REINFORCEMENT,
    *WHAT_IS_LEARNT, *PROMPTS, *CLOSED_LOOPS,
)  # fmt: skip
CLAIMS = {claim.name: claim for claim in _LISTED}
