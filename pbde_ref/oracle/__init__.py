"""Hold other implementations of preference losses against their definitions.

>>> import numpy as np
>>> from pbde_ref.oracle import check_loss
>>> def mine(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
...     margin = beta * (policy_chosen - reference_chosen - policy_rejected + reference_rejected)
...     return np.mean(np.logaddexp(0.0, -margin))
>>> check_loss(mine, "dpo", beta=0.3).passed
True
>>> print(check_loss(lambda *batch: -mine(*batch, beta=0.3), "dpo", beta=0.3, on_failure="report"))
function held against dpo (beta=0.3, label_smoothing=0.0, variant='cdpo',
  reduction='mean'), NumPy arrays of float64
24 checks: 10 passed, 9 failed, 5 skipped
<BLANKLINE>
Diagnosis
  - matches a known bug: sign inverted (Liger-Kernel #481, #484): minus the
    loss: training makes it worse
...
"""

from pbde_ref.oracle.conventions import CONVENTIONS, Convention
from pbde_ref.oracle.entry import check_loss, check_sequence_log_probs, check_sequence_rewards, iter_checks, run_check
from pbde_ref.oracle.fitters.check import check_fitter
from pbde_ref.oracle.known_bugs import CATALOGUE, KnownBug
from pbde_ref.oracle.reduction.check import Counts, Part, check_reduction
from pbde_ref.oracle.report import CheckResult, LossCheckError, Report
from pbde_ref.oracle.training.check import TrainingError, TrainingReport, check_training

__all__ = [
    "CATALOGUE",
    "CONVENTIONS",
    "CheckResult",
    "Convention",
    "Counts",
    "KnownBug",
    "LossCheckError",
    "Part",
    "Report",
    "TrainingError",
    "TrainingReport",
    "check_fitter",
    "check_loss",
    "check_reduction",
    "check_sequence_log_probs",
    "check_sequence_rewards",
    "check_training",
    "iter_checks",
    "run_check",
]
