"""What ``pbde-ref verify`` checks: every theorem and closed form, by two paths that share no code, with a control."""

from pbde_ref.verification.alternatives import ALTERNATIVES
from pbde_ref.verification.claims import Claim, Verdict, check
from pbde_ref.verification.closed_forms import CLOSED_FORMS
from pbde_ref.verification.foundations import FOUNDATIONS
from pbde_ref.verification.lengths import LENGTHS
from pbde_ref.verification.populations import POPULATIONS
from pbde_ref.verification.problems import Problem, problems

__all__ = ["CLAIMS", "Claim", "Problem", "Verdict", "check", "problems"]

CLAIMS = {claim.name: claim for claim in (*FOUNDATIONS, *CLOSED_FORMS, *ALTERNATIVES, *POPULATIONS, *LENGTHS)}
