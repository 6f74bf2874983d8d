"""The names that planted sources are written in, for each framework."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["namespace"]


def namespace(framework: str, reduction: str) -> dict[str, Any]:
    """What a source text may refer to."""
    names = {"numpy": _numpy, "torch": _torch, "jax": _jax}[framework]()
    reductions: dict[str, Callable[[Any], Any]] = {
        "mean": lambda each: each.mean(), "sum": lambda each: each.sum(), "none": lambda each: each,
    }  # fmt: skip
    return {**names, "reduce": reductions[reduction], "remembered": {}, "random": np.random.default_rng(0).random}


def _numpy() -> dict[str, Any]:
    def log_softmax(z: Any) -> Any:
        shifted = z - z.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

    def logsumexp(z: Any) -> Any:
        largest = z.max(-1, keepdims=True)
        return (largest + np.log(np.exp(z - largest).sum(-1, keepdims=True)))[..., 0]

    return {
        "exp": np.exp, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "where": np.where, "absolute": np.abs,
        "log_sigmoid": lambda z: -np.logaddexp(np.zeros((), z.dtype), -z),
        "relu": lambda z: np.maximum(z, np.zeros((), z.dtype)), "clip": np.clip,
        "detach": lambda z: z, "row_max": lambda z: z.max(-1, keepdims=True),
        "log_softmax": log_softmax, "logsumexp": logsumexp,
        "positions": lambda labels: np.arange(labels.shape[1]),
        "gather": lambda z, labels: np.take_along_axis(z, labels[..., None], -1)[..., 0],
        "at_least_one": lambda n: np.maximum(n, 1), "zeros_like": np.zeros_like,
        "to_single": lambda z: z.astype(np.float32), "rolled": lambda z: np.roll(z, -1, axis=1), "stack": np.stack,
        "flipped": lambda z: z[:, ::-1], "first_of_row": lambda z: z.argmax(-1), "of_numbers": lambda z: z.astype(int),
        "running": lambda z: z.cumsum(-1), "ascending": np.sort, "log_lost": lambda z: np.log(-np.expm1(z)),
    }  # fmt: skip


def _torch() -> dict[str, Any]:
    torch = importlib.import_module("torch")
    functional = torch.nn.functional
    return {
        "exp": torch.exp, "log": torch.log, "log1p": torch.log1p, "tanh": torch.tanh, "where": torch.where,
        "absolute": torch.abs, "log_sigmoid": functional.logsigmoid, "relu": functional.relu, "clip": torch.clamp,
        "detach": lambda z: z.detach(), "row_max": lambda z: z.amax(-1, keepdim=True),
        "log_softmax": lambda z: functional.log_softmax(z, -1), "logsumexp": lambda z: torch.logsumexp(z, -1),
        "positions": lambda labels: torch.arange(labels.shape[1]),
        "gather": lambda z, labels: torch.gather(z, -1, labels[..., None])[..., 0],
        "at_least_one": lambda n: torch.clamp(n, min=1), "zeros_like": torch.zeros_like,
        "to_single": lambda z: z.to(torch.float32), "rolled": lambda z: torch.roll(z, -1, 1), "stack": torch.stack,
        "flipped": lambda z: z.flip(1), "first_of_row": lambda z: z.int().argmax(-1),
        "of_numbers": lambda z: z.to(torch.int64), "running": lambda z: z.cumsum(-1),
        "ascending": lambda z: z.sort().values, "log_lost": lambda z: torch.log(-torch.expm1(z)),
    }  # fmt: skip


def _jax() -> dict[str, Any]:
    jax = importlib.import_module("jax")
    jnp = jax.numpy
    return {
        "exp": jnp.exp, "log": jnp.log, "log1p": jnp.log1p, "tanh": jnp.tanh, "where": jnp.where,
        "absolute": jnp.abs, "log_sigmoid": jax.nn.log_sigmoid, "relu": jax.nn.relu, "clip": jnp.clip,
        "detach": jax.lax.stop_gradient, "row_max": lambda z: z.max(-1, keepdims=True),
        "log_softmax": lambda z: jax.nn.log_softmax(z, -1), "logsumexp": lambda z: jax.nn.logsumexp(z, -1),
        "positions": lambda labels: jnp.arange(labels.shape[1]),
        "gather": lambda z, labels: jnp.take_along_axis(z, labels[..., None], -1)[..., 0],
        "at_least_one": lambda n: jnp.maximum(n, 1), "zeros_like": jnp.zeros_like,
        "to_single": lambda z: z.astype(jnp.float32), "rolled": lambda z: jnp.roll(z, -1, 1), "stack": jnp.stack,
        "flipped": lambda z: z[:, ::-1], "first_of_row": lambda z: z.argmax(-1), "of_numbers": lambda z: z.astype(int),
        "running": lambda z: z.cumsum(-1), "ascending": jnp.sort, "log_lost": lambda z: jnp.log(-jnp.expm1(z)),
    }  # fmt: skip
