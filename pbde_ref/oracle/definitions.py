"""The losses that can be checked: what they are called with, what may be declared, and what is right."""

from __future__ import annotations

from pbde_ref.oracle.cases import Definition
from pbde_ref.oracle.definitions_of_alternatives import HINGE, IPO, MIXTURE_LOSS, RRHF, RSO, SLIC
from pbde_ref.oracle.definitions_of_processes import BRADLEY_TERRY_REWARDS, DPO, GEOMETRIC, LENGTH_NORMALIZED, PBDE_LOSS

__all__ = ["DEFINITIONS", "definition_of"]

DEFINITIONS = {
    definition.name: definition
    for definition in (
        BRADLEY_TERRY_REWARDS, DPO, PBDE_LOSS, LENGTH_NORMALIZED, GEOMETRIC, IPO, SLIC, RSO, HINGE, RRHF, MIXTURE_LOSS,
    )
}  # fmt: skip


def definition_of(loss: str) -> Definition:
    """The definition of that name.

    Examples
    --------
    >>> definition_of("dpo").title, definition_of("simpo").name
    ('direct preference optimisation, Eq. (14)', 'length_normalized')
    >>> definition_of("DPO")
    Traceback (most recent call last):
        ...
    ValueError: `loss` must be one of bradley_terry (reward), dpo, pbde, length_normalized (simpo), geometric, ipo,
    slic, rso, hinge, rrhf, mixture (annotator_mixture); got 'DPO'
    """
    for definition in DEFINITIONS.values():
        if loss in (definition.name, *definition.aliases):
            return definition
    known = ", ".join(f"{d.name} ({', '.join(d.aliases)})" if d.aliases else d.name for d in DEFINITIONS.values())
    raise ValueError(f"`loss` must be one of {known}; got {loss!r}")
