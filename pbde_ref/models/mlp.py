r"""The paper's network on a finite support: a tanh multilayer perceptron as reward, Eq. (2), or as energy, Eq. (17).

The support is finite, so one evaluation on all its points serves every pair that a step compares. Parameters are one
flat vector: for each layer its weights, row by row, then its biases.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from autograd.extend import defvjp, primitive

from pbde_ref.models.primitives import logsumexp
from pbde_ref.validation import FloatArray, generator_of, whole_number

__all__ = ["MLP", "energy_log_policy", "mixture_log_policies"]


@dataclass(frozen=True)
class MLP:
    r"""A network from a real number to a real number, the paper's Table 1 by default.

    .. math:: h_0 = x, \qquad h_k = \tanh(h_{k-1} W_k + b_k), \qquad \text{MLP}(x) = h_L W_{L+1} + b_{L+1}

    Parameters
    ----------
    layers : int
        L, number of hidden layers, at least 1.
    width : int
        Units of each, at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.models.mlp import MLP
    >>> network = MLP(layers=1, width=1)
    >>> network(np.array([2.0, 0.0, 3.0, 1.0]), np.array([0.5]))  # 3 tanh(2 · 0.5) + 1
    array([3.28478247])
    """

    layers: int = 4
    width: int = 64

    def __post_init__(self) -> None:
        whole_number("layers", self.layers, least=1)
        whole_number("width", self.width, least=1)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shape of each layer's weights."""
        widths = [1, *[self.width] * self.layers, 1]
        return list(pairwise(widths))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum((rows + 1) * columns for rows, columns in self.shapes)

    def initial_parameters(self, *, rng: Any = None) -> FloatArray:
        r"""LeCun's initialisation: weights normal with variance 1 / fan-in, cut at two standard deviations; biases 0.

        Parameters
        ----------
        rng : numpy.random.Generator or seed, optional
        """
        generator = generator_of(rng)
        parts = []
        for rows, columns in self.shapes:
            # The cut takes away variance, which the divisor, the standard deviation of what is left, gives back.
            weights = _truncated_standard_normal(generator, rows * columns) / (0.87962566103423978 * np.sqrt(rows))
            parts += [weights, np.zeros(columns)]
        return np.concatenate(parts)

    def __call__(self, parameters: FloatArray, inputs: FloatArray) -> FloatArray:
        """The network's value at each input, shape (n,); autograd differentiates it in the parameters.

        It is computed in the parameters' precision; the result is float64 in any case.
        """
        return _network(parameters, inputs, tuple(self.shapes), [])


def _truncated_standard_normal(generator: np.random.Generator, size: int) -> FloatArray:
    draws = generator.standard_normal(size)
    while (outside := np.abs(draws) > 2.0).any():
        draws[outside] = generator.standard_normal(int(outside.sum()))
    return draws


def _unpack(parameters: FloatArray, shapes: tuple[tuple[int, int], ...]) -> list[tuple[FloatArray, FloatArray]]:
    """Weights and biases of each layer, as views."""
    parts, start = [], 0
    for rows, columns in shapes:
        middle, stop = start + rows * columns, start + (rows + 1) * columns
        parts.append((parameters[start:middle].reshape(rows, columns), parameters[middle:stop]))
        start = stop
    return parts


@primitive
def _network(
    parameters: FloatArray, inputs: FloatArray, shapes: tuple[tuple[int, int], ...], tape: list[FloatArray]
) -> FloatArray:
    """The network's output; what each layer received is left on the tape for the way back."""
    *hidden, (weights, biases) = _unpack(parameters, shapes)
    tape.append(inputs[:, None].astype(parameters.dtype))
    for layer, offset in hidden:
        values = tape[-1] @ layer
        values += offset
        tape.append(np.tanh(values, out=values))
    return np.asarray(tape[-1] @ weights + biases, dtype=np.float64)[:, 0]


def _network_gradient(
    upstream: FloatArray, parameters: FloatArray, shapes: tuple[tuple[int, int], ...], tape: list[FloatArray]
) -> FloatArray:
    """Backpropagation, from the last layer to the first."""
    result = np.empty_like(parameters)
    gradients = _unpack(result, shapes)
    layers = _unpack(parameters, shapes)
    flow = upstream[:, None].astype(parameters.dtype)
    for k in range(len(shapes) - 1, -1, -1):
        weights_gradient, biases_gradient = gradients[k]
        np.matmul(tape[k].T, flow, out=weights_gradient)
        np.sum(flow, axis=0, out=biases_gradient)
        if k > 0:
            flow = flow @ layers[k][0].T
            flow *= 1.0 - np.square(tape[k])
    return result


# One pass backwards in NumPy: autograd would build a node for each operation and scatter each layer's gradient into a
# vector of all parameters.
defvjp(
    _network,
    lambda ans, parameters, inputs, shapes, tape: lambda g: _network_gradient(g, parameters, shapes, tape),
    argnums=(0,),
)


def energy_log_policy(network: MLP, parameters: FloatArray, support: FloatArray) -> FloatArray:
    r"""Log-probabilities of the energy-based model of Eq. (17) on a finite support, shape (n,).

    .. math:: \log \pi(x) = -\text{MLP}(x) - \log \sum_{x' \in S} e^{-\text{MLP}(x')}

    Differentiable by autograd in the parameters, normaliser included.

    Parameters
    ----------
    network : MLP
    parameters : ndarray, shape (network.size,)
    support : ndarray, shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.models.mlp import MLP, energy_log_policy
    >>> network = MLP(layers=1, width=1)
    >>> np.exp(energy_log_policy(network, np.zeros(4), np.array([-1.0, 1.0])))
    array([0.5, 0.5])
    """
    energies = network(parameters, support)
    return -energies - logsumexp(-energies)


def mixture_log_policies(
    network: MLP, parameters: FloatArray, support: FloatArray, count: int
) -> tuple[list[FloatArray], FloatArray]:
    r"""The model of several annotators, Eq. (29) and (30): each one's log-probabilities, and the log-weights.

    Parameters
    ----------
    network : MLP
    parameters : ndarray, shape (count * network.size + count,)
        The annotators' networks one after the other, then the logits of the weights,
        :math:`w_i = e^{\lambda_i} / \sum_j e^{\lambda_j}`.
    support : ndarray, shape (n,)
    count : int
        Number of annotators.

    Returns
    -------
    log_policies : list of ndarray, shape (n,)
    log_weights : ndarray, shape (count,)
    """
    logits = parameters[count * network.size :]
    policies = [
        energy_log_policy(network, parameters[i * network.size : (i + 1) * network.size], support)
        for i in range(count)
    ]  # fmt: skip
    return policies, logits - logsumexp(logits)
