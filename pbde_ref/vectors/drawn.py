"""Test vectors drawn in large numbers: nobody chose their sizes, scales and parameters.

Each document of a loss or of tokens gets the same number of them, the same ones each time. All numbers are exact in
bfloat16, and no loss is met on its kink: a hinge's threshold is an odd multiple of 1/256, and no margin is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pbde_ref.vectors.definitions import STEEP
from pbde_ref.vectors.format import Document, Group, Test

__all__ = ["TESTS_OF_EACH", "drawn_groups"]

PARAMETER_SETS, TESTS_OF_EACH = 20, 10
# Of log-probabilities and rewards, in nats: almost certain, tokens, sentences, and where a naive formula overflows.
SCALES = (2.0**-20, 0.5, 8.0, 64.0, 1024.0)
MOST_EXAMPLES = 3
CANDIDATES, VOCABULARY = 4, 5
END, PADDING = 1, 0


def drawn_groups(document: Document, tests: int = TESTS_OF_EACH) -> list[Group]:
    """Groups like the document's own, with other parameters and inputs.

    Examples
    --------
    >>> from pbde_ref.vectors.sequences import SEQUENCE_DOCUMENTS
    >>> groups = drawn_groups(SEQUENCE_DOCUMENTS[0], 3)
    >>> len(groups), len(groups[0].tests), groups[0].tests[0].flags
    (20, 3, ('Drawn',))
    """
    patterns = [g for g in document.groups if g.tests[0].result != "invalid" and "Kink" not in g.tests[0].flags]
    # A generator for each group: its first tests do not depend on how many there are.
    generators = np.random.default_rng(list(document.name.encode())).spawn(PARAMETER_SETS)
    scales = (*SCALES[:2], 4.0) if document.name in STEEP else SCALES
    return [_drawn_group(patterns[k % len(patterns)], tests, scales, rng) for k, rng in enumerate(generators)]


def _drawn_group(pattern: Group, tests: int, scales: tuple[float, ...], rng: np.random.Generator) -> Group:
    model = pattern.tests[0]
    parameters = {
        name: _odd(rng) if isinstance(value, float) and value else value for name, value in pattern.parameters.items()
    }
    for share in parameters.keys() & {"epsilon", "label_smoothing"}:
        parameters[share] = int(rng.integers(1, 8)) / 16.0
    draw = _tokens if "logits" in model.inputs else _examples
    flags = ("Drawn", *(["Convention"] if model.result == "acceptable" else []))

    def drawn(scale: float) -> Test:
        return Test(f"drawn at scale {scale:g}", flags, draw(model.inputs, scale, rng), model.result)

    return Group(parameters, [drawn(float(rng.choice(scales))) for _ in range(tests)], pattern.convention)


def _odd(rng: np.random.Generator) -> float:
    """A positive parameter below 1."""
    return float(2 * rng.integers(1, 128) + 1) / 256.0


def _multiples(rng: np.random.Generator, scale: float, low: int, high: int, *shape: int) -> Any:
    return (scale / 64.0 * rng.integers(low, high, shape)).tolist()


def _examples(inputs: Mapping[str, Any], scale: float, rng: np.random.Generator) -> dict[str, Any]:
    """Inputs with the names and the inner shapes of others."""
    size = int(rng.integers(1, MOST_EXAMPLES + 1))
    drawn = {}
    for name, values in inputs.items():
        inner = np.shape(values)[1:]
        if name == "lengths":
            # Different powers of two, and odd log-probabilities: no two candidates are equal per token.
            drawn[name] = [(2 ** rng.permutation(CANDIDATES + 1)[: inner[0]]).tolist() for _ in range(size)]
        elif name == "policy" and inner:
            drawn[name] = (-scale / 64.0 * (2 * rng.integers(0, 64, (size, *inner)) + 1)).tolist()
        elif name.endswith("lengths"):
            drawn[name] = rng.integers(1, 24, size).tolist()
        elif name == "mask":
            drawn[name] = (rng.random((size, *inner)) < 0.6).astype(int).tolist()
            for row in drawn[name]:
                row[int(rng.integers(inner[0]))] = 1
        elif name.startswith("f_"):
            drawn[name] = _multiples(rng, 1.0, 1, 128, size)
        elif name == "labels":
            drawn[name] = _multiples(rng, 1.0, 0, 65, size)
        elif name in ("desirable", "ties"):
            drawn[name] = rng.integers(0, 2, size).tolist()
        elif name.startswith("reference"):
            # No log-ratio is zero.
            drawn[name] = (-scale / 128.0 * (2 * rng.integers(0, 127, size) + 1)).tolist()
        elif name == "weight_logits":
            drawn[name] = _multiples(rng, 1.0, -127, 128, len(values))
        elif name == "margin":
            drawn[name] = _multiples(rng, 1.0, 0, 128, size)
        elif name == "scores" or name.startswith(("g_", "upstream")):
            drawn[name] = _multiples(rng, 1.0, -127, 128, size, *inner)
        elif "rewards" in name:
            drawn[name] = _multiples(rng, scale, -127, 128, size, *inner)
        else:
            drawn[name] = _multiples(rng, scale, -127, 0, size, *inner)
    return drawn


def _tokens(inputs: Mapping[str, Any], scale: float, rng: np.random.Generator) -> dict[str, Any]:
    """Prompts, completions that end or are cut off, and padding; every row has something to count."""
    size, width = int(rng.integers(1, MOST_EXAMPLES + 1)), int(rng.integers(3, 7))
    prompts = rng.integers(1, width - 1, size)
    labels = rng.integers(END, VOCABULARY, (size, width))
    for row, prompt in zip(labels, prompts, strict=True):
        row[prompt] = rng.integers(END, VOCABULARY)
        row[rng.integers(prompt + 1, width + 1) :] = PADDING
    return {
        "logits": _multiples(rng, min(scale, 64.0), -127, 128, size, width, VOCABULARY), "labels": labels.tolist(),
        "prompt_lengths": prompts.tolist(), "end_of_sequence": END, "padding": PADDING,
        "upstream": _multiples(rng, 1.0, -127, 128, size),
    }  # fmt: skip
