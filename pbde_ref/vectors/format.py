"""The shape of a test vector: what a test, a group and a document hold, and what each flag says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

__all__ = ["FLAGS", "FORMAT", "Document", "Group", "Test", "acceptable", "as_json", "invalid", "valid"]

FORMAT = "pbde-ref-vectors/1"
"""Changes when a consumer of the old format could no longer read the new one."""

Result = Literal["valid", "invalid", "acceptable"]
Inputs = Mapping[str, Any]

# What a flag says about its tests, and public threads about bugs that such tests find.
FLAGS: dict[str, tuple[str, list[str]]] = {
    "Generic": (
        "Away from all points where wrong formulas agree: several examples, unequal lengths, no parameter 0 or 1.",
        ["MaxText #1530", "Liger-Kernel #378", "Liger-Kernel #481", "TRL #3906", "OpenRLHF 879d812"],
    ),
    "SingleExample": ("A batch of one: what is divided by the batch's size must not vanish.", []),
    "FirstStep": ("The policy is the reference, as before the first step of training.", ["TRL #892"]),
    "ExtremeGap": (
        "Margins of hundreds: log(sigmoid(x)) and log(1 + exp(x)) overflow or lose everything, gradients too.",
        ["DeepSpeedExamples #423", "OpenRLHF #1278"],
    ),
    "NearCertain": ("Sequences of probability almost 1: 1 - p has no digits left.", []),
    "Kink": ("Exactly on a hinge's kink, where any subgradient is right: compare values only.", []),
    "Ties": ("Tied candidates, which are not compared with each other.", []),
    "ReferenceFree": ("Numbers that must not depend on a reference.", []),
    "Convention": (
        "Another convention than the paper's, in wide use. Compare only if you follow it.",
        ["TRL #1265", "torchtune #1291", "TRL #1677"],
    ),
    "PromptTokens": ("Prompt tokens, which must not count.", ["OpenRLHF #235", "OpenRLHF #294"]),
    "Padding": ("Padding, which must not count, whatever its logits are.", []),
    "EndOfSequence": ("The end-of-sequence token counts, nothing after it does.", ["minimind #621", "TRL #2332"]),
    "LeftPadding": ("Padding on the left: what is counted from the left is not there.", ["TRL #6800"]),
    "CompletionAtStart": (
        "A completion without a prompt: rolled labels bring its first token to the end, unshifted masks count it.",
        ["TRL #2733", "TRL #2568", "TRL #3346"],
    ),
    "Drawn": ("Numbers, sizes and parameters that nobody chose.", []),
    "BatchSize": ("Small batches, odd and prime ones among them.", ["TRL #1911"]),
    "Temperature": ("Logits divided by a temperature.", ["prime-rl #697", "verl #4162"]),
    "Misspecified": ("No utility produces these preferences; the optimum is the best approximation.", []),
    "WellSpecified": ("The optimum has a closed form and reproduces all preferences.", []),
    "UnequalProposal": ("Some pairs are compared far more often than others.", []),
    "InvalidShape": ("Arrays of different lengths, or none at all: must be refused.", []),
    "InvalidLogProbability": ("A log-probability above 0, usually a forgotten sign: must be refused.", []),
    "InvalidParameter": ("A parameter outside the definition: must be refused.", []),
    "InvalidLength": ("A sequence of no tokens: must be refused.", []),
}


@dataclass(frozen=True)
class Test:
    """One test: what goes in. What comes out is computed when the document is made."""

    __test__ = False  # not a test of the package's own

    comment: str
    flags: tuple[str, ...]
    inputs: Inputs
    result: Result = "valid"


@dataclass(frozen=True)
class Group:
    """Tests that share parameters."""

    parameters: Mapping[str, Any]
    tests: Sequence[Test]
    convention: str | None = None


@dataclass(frozen=True)
class Document:
    """A file of test vectors."""

    name: str
    level: Literal["sequence", "token", "population"]
    title: str
    formula: str
    groups: Sequence[Group]
    notes: Sequence[str] = field(default_factory=tuple)


def valid(comment: str, flag: str, **inputs: Any) -> Test:
    """A test that every implementation must pass; `flag` may be several, separated by blanks."""
    return Test(comment, tuple(flag.split()), inputs)


def acceptable(comment: str, flag: str, **inputs: Any) -> Test:
    """A test for implementations that follow the group's convention."""
    return Test(comment, ("Convention", *flag.split()), inputs, "acceptable")


def invalid(comment: str, flag: str, **inputs: Any) -> Test:
    """A test whose inputs must be refused."""
    return Test(comment, tuple(flag.split()), inputs, "invalid")


def as_json(document: Document, expected: Any) -> dict[str, Any]:
    """The document in types that JSON has; `expected(parameters, test)` computes what comes out.

    Tests are numbered through the document, from 1.
    """
    groups: list[dict[str, Any]] = []
    number = 0
    used: set[str] = set()
    for group in document.groups:
        tests = []
        for test in group.tests:
            number += 1
            used |= set(test.flags)
            entry = {
                "id": number, "comment": test.comment, "flags": list(test.flags), "result": test.result,
                "inputs": _plain(test.inputs),
            }  # fmt: skip
            if test.result != "invalid":
                entry["expected"] = _plain(expected(group.parameters, test))
            tests.append(entry)
        convention = {} if group.convention is None else {"convention": group.convention}
        groups.append({"parameters": _plain(group.parameters), **convention, "tests": tests})
    return {
        "format": FORMAT,
        "generator": f"pbde_ref {version('pbde-ref')}",
        "name": document.name,
        "level": document.level,
        "title": document.title,
        "formula": document.formula,
        "notes": list(document.notes),
        "flags": {
            name: {"purpose": purpose, "threads": threads} for name, (purpose, threads) in FLAGS.items() if name in used
        },
        "number_of_tests": number,
        "groups": groups,
    }


def _plain(value: Any) -> Any:
    """Arrays and NumPy numbers become lists and Python numbers, without a negative zero."""
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value + 0.0 if isinstance(value, float) else value
