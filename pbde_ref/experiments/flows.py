r"""How the answers that are chosen fare while a loss is followed from the reference to its optimum.

The policy is a softmax of logits :math:`\theta`, one for each answer, and these follow the expected loss's gradient
without steps: :math:`\dot\theta = -\nabla_\theta L`, :math:`\theta(0) = \log \pi_{pre}`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pbde_ref.annotators import PreferenceModel
from pbde_ref.catalogue import Loss
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.policy_losses import wins_with_ties
from pbde_ref.exact.selection import winners_distribution
from pbde_ref.numerics import logsumexp
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import FloatArray

__all__ = ["TOLERANCE", "chosen_on_the_way"]

# Where kinks are, a flow slides along them, which no solver of smooth equations follows.
KINKED = ("slic", "rso", "dpop", "bpo")
TOLERANCE = 1e-8
# In units of the time in which the gradient at the reference would move a logit by one nat.
END = 1e9


def chosen_on_the_way(
    loss: Loss, parameters: Mapping[str, float], annotator: PreferenceModel, reference: FiniteDistribution
) -> FloatArray | None:
    r"""Mean log-ratio of policy and reference of the chosen answers, :math:`\sum_x w_x \log \frac{\pi}{\pi_{pre}}(x)`.

    Pairs are drawn from the reference, and all answers have one length.

    Returns
    -------
    ndarray or None
        In nats, at the steps of a solver that is accurate to 8 digits; the last one is far out. None for what is no
        loss of pairs or of answers, or has a kink.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.catalogue import LOSSES
    >>> p, reference = pb.FiniteDistribution.from_weights([4, 1]), pb.uniform([0, 1])
    >>> path = chosen_on_the_way(LOSSES["dpo"], {"beta": 2.0}, pb.Annotator(p, pb.luce()), reference)
    >>> path[[0, -1]].round(6)  # Eq. (16): 2/3 and 1/3; the winners 0.65 and 0.35
    array([0.      , 0.045081])
    """
    # As slow to load as NumPy, and few processes call it.
    from scipy.integrate import solve_ivp

    if loss.family not in ("pairwise", "answers") or loss.name in KINKED:
        return None
    proposal, n, log_pre = ProductProposal(reference), reference.log_pmf.size, reference.log_pmf
    wins, winners = wins_with_ties(annotator, proposal), winners_distribution(annotator, proposal).pmf
    first, second = (place.ravel() for place in np.indices((n, n)))
    weights: FloatArray = np.ravel(wins)
    if loss.family == "answers":
        first = second = np.tile(np.arange(n), 2)
        weights = np.concatenate([wins.sum(axis=1), wins.sum(axis=0)])
    places = {"policy": first, "policy_chosen": first, "policy_rejected": second, "chosen_rewards": first,
              "rejected_rewards": second}  # fmt: skip
    fixed = {"reference": log_pre[first], "reference_chosen": log_pre[first], "reference_rejected": log_pre[second],
             "chosen_lengths": np.ones(first.size), "rejected_lengths": np.ones(first.size),
             "labels": np.ones(first.size), "desirable": np.arange(first.size) < n}  # fmt: skip
    conventions = {**loss.generic, **parameters, "reduction": "none"}

    def slope(_: float, theta: FloatArray) -> FloatArray:
        log_pmf = np.minimum(theta - logsumexp(theta), 0.0)
        gradients = loss.evaluate({**fixed, **{k: log_pmf[p] for k, p in places.items()}}, conventions).gradients
        total: FloatArray = np.sum([np.bincount(places[k], weights * g, n) for k, g in gradients.items()], axis=0)
        return np.asarray(np.exp(log_pmf) * np.sum(total) - total)

    unit = float(np.abs(slope(0.0, log_pre)).max())
    found = solve_ivp(slope, (0.0, END / unit), log_pre, "LSODA", rtol=TOLERANCE, atol=TOLERANCE)
    if not found.success:
        return None
    ratios = found.y - logsumexp(found.y, axis=0) - log_pre[:, None]
    return np.asarray(winners @ ratios)
