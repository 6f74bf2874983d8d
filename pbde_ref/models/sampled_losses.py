r"""Losses over a sample of comparisons, for autograd to differentiate in whatever the utilities depend on.

A sample names each outcome many times: utilities are gathered for every comparison, and gradients are added up again by
outcome.
"""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive

from pbde_ref.models.primitives import logsumexp
from pbde_ref.objectives import Objective
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["margins", "mean_loss", "mean_mixture_loss"]


@primitive
def margins(utilities: FloatArray, chosen: IndexArray, rejected: IndexArray) -> FloatArray:
    r"""The winners' margins :math:`\omega(x_w) - \omega(x_l)`, shape (m,).

    Parameters
    ----------
    utilities : ndarray, shape (n,)
    chosen, rejected : ndarray of int, shape (m,)
        Indices of the winner and of the loser of each comparison.

    Examples
    --------
    >>> import numpy as np
    >>> from autograd import elementwise_grad
    >>> from pbde_ref.models.sampled_losses import margins
    >>> elementwise_grad(margins)(np.zeros(3), np.array([0, 0, 1]), np.array([1, 2, 2]))
    array([ 2.,  0., -2.])
    """
    return np.asarray(utilities[chosen] - utilities[rejected])


# autograd's own gradient of indexing scatters one number at a time.
defvjp(
    margins,
    lambda ans, utilities, chosen, rejected: lambda g: (
        np.bincount(chosen, g, utilities.size) - np.bincount(rejected, g, utilities.size)
    ),
    argnums=(0,),
)


@primitive
def mean_loss(margins: FloatArray, objective: Objective) -> float:
    r"""Mean of :math:`\ell(m)` over the winners' margins.

    Parameters
    ----------
    margins : ndarray, shape (m,)
    objective : Objective
        :math:`\ell`.
    """
    return float(objective.value(margins).mean())


defvjp(
    mean_loss,
    lambda ans, margins, objective: lambda g: g / margins.size * objective.derivative(margins),
    argnums=(0,),
)


def mean_mixture_loss(margins: list[FloatArray], log_weights: FloatArray) -> float:
    r"""Mean of :math:`-\log \sum_i w_i\, \sigma(m_i)`, the loss of Eq. (30).

    Parameters
    ----------
    margins : list of ndarray, shape (m,)
        The winners' margins for each annotator in the model.
    log_weights : ndarray, shape (k,)
        Logarithms of the weights, which sum to one.
    """
    terms = [log_weights[i] - anp.logaddexp(0.0, -each) for i, each in enumerate(margins)]
    return -anp.mean(logsumexp(anp.stack(terms), axis=0))
