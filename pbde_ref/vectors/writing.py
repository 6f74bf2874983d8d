"""Write test vectors for implementations in other languages: versioned JSON, with its schema.

The same bytes each time. One file for each loss. A group's tests share parameters; each test has an id, a comment,
flags, inputs, and unless it is invalid the expected value and gradients. How to read them is in ``VECTORS.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from pbde_ref.files import write_json
from pbde_ref.vectors import expected_losses, sequences, tokens
from pbde_ref.vectors.against_the_paper import checked
from pbde_ref.vectors.drawn import TESTS_OF_EACH, drawn_groups
from pbde_ref.vectors.format import Document, Test, as_json

__all__ = ["make_vectors", "vector_schema", "write_vectors"]

SCHEMA = "vectors.schema.json"


def make_vectors(drawn: int = TESTS_OF_EACH) -> dict[str, dict[str, Any]]:
    """All documents in types that JSON has, by name.

    Parameters
    ----------
    drawn : int
        How many tests each of the twenty groups has that are drawn for each loss; 0 leaves these groups out.

    Raises
    ------
    ArithmeticError
        If a number that has an equation in the paper is not the paper's.

    Examples
    --------
    >>> documents = make_vectors(drawn=0)
    >>> documents["dpo"]["groups"][0]["parameters"]
    {'beta': 0.3125}
    >>> documents["dpo"]["groups"][0]["tests"][0]["expected"]["losses"]
    [0.54905..., 1.05370..., 0.20428..., 0.95474...]
    """
    return {
        document.name: as_json(document, partial(_expected, document.name, module.evaluate))
        for module, family in (
            (sequences, [_with_drawn(document, drawn) for document in sequences.SEQUENCE_DOCUMENTS]),
            (tokens, [_with_drawn(document, drawn) for document in tokens.TOKEN_DOCUMENTS]),
            (expected_losses, expected_losses.POPULATION_DOCUMENTS),
        )
        for document in family
    }


def _with_drawn(document: Document, tests: int) -> Document:
    return replace(document, groups=[*document.groups, *drawn_groups(document, tests)]) if tests else document


def _expected(
    name: str, evaluate: Callable[..., dict[str, Any]], parameters: Mapping[str, Any], test: Test
) -> dict[str, Any]:
    """What the package computes, if it is right; where there is no derivative, none."""
    outcome = evaluate(name, parameters, test.inputs)
    if "Kink" in test.flags:
        outcome.pop("gradients")
    return checked(name, parameters, test.inputs, outcome)


def vector_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that each document keeps."""
    schema: dict[str, Any] = json.loads(files("pbde_ref.vectors").joinpath(SCHEMA).read_text("utf-8"))
    return schema


def write_vectors(directory: str | PathLike[str], drawn: int = TESTS_OF_EACH) -> list[Path]:
    """Write all documents and their schema to a folder, which is made if it does not exist.

    Files appear complete or not at all. Equal versions of the package write equal bytes.

    Parameters
    ----------
    directory : path
        Files of the same names are replaced; others are left alone.
    drawn : int
        As for `make_vectors`. All of the default take about half a minute.

    Returns
    -------
    list of Path
        What was written, the schema last.

    Raises
    ------
    OSError
        If the folder cannot be made or written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in write_vectors(folder, drawn=0)][-2:]
    ['population_prompts.json', 'vectors.schema.json']
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {f"{name}.json": document for name, document in make_vectors(drawn).items()} | {SCHEMA: vector_schema()}
    for name, value in contents.items():
        write_json(folder / name, value)
    return [folder / name for name in contents]
