"""All losses by name, and where each leads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceModel, prompts_of
from pbde_ref.catalogue.alternatives import ALTERNATIVES
from pbde_ref.catalogue.in_use import IN_USE
from pbde_ref.catalogue.processes import CROSS_ENTROPIES
from pbde_ref.catalogue.records import Loss
from pbde_ref.distributions import EITHER_DISTRIBUTION, same_support
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.results import Optimum
from pbde_ref.prompts.separate import at_each_prompt
from pbde_ref.proposals import Proposal
from pbde_ref.validation import array, choice, instance, reject

__all__ = ["LOSSES", "check_parameters", "loss_named", "optimum", "optimum_parameters"]

LOSSES = {loss.name: loss for loss in (*CROSS_ENTROPIES, *ALTERNATIVES, *IN_USE)}


def loss_named(loss: str) -> Loss:
    """The record of that name.

    Examples
    --------
    >>> loss_named("dpo").title, loss_named("simpo").name
    ('direct preference optimisation', 'length_normalized')
    >>> loss_named("rewards")
    Traceback (most recent call last):
        ...
    ValueError: `loss` must be one of ... words, such as 'reward', ...; got 'rewards'
    """
    known = {name: record for record in LOSSES.values() for name in (record.name, *record.aliases)}
    return known[choice("loss", loss, known)]


def optimum_parameters(loss: str) -> dict[str, Any]:
    """What `optimum` takes for a loss beside annotator and proposal, with defaults; `inspect.Parameter.empty` if none.

    Examples
    --------
    >>> list(optimum_parameters("ipo"))
    ['tau', 'reference', 'lengths']
    """
    function = loss_named(loss).optimum
    if function is None:
        raise ValueError(f"`loss` must have a known optimum; got {loss!r:.100}")
    parameters = list(inspect.signature(function).parameters.values())
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_parameters(record: Loss, parameters: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` or ``ValueError`` for a parameter of an optimum that its rule or float64 has no room for."""
    for name, value in parameters.items():
        rule = record.parameters.get(name)
        if value is None or name == "tokens" or isinstance(value, EITHER_DISTRIBUTION):
            continue
        if rule is not None and (rule.rule not in ("margin", "real") or np.ndim(value) == 0):
            rule.checked(name, value)
        if not isinstance(value, str):
            given = array(name, value)
            # Squares and sums of others leave the range of doubles.
            beyond = (np.abs(given) < 1e-100) | (np.abs(given) > 1e100)
            reject(name, "0, or of size 1e-100 to 1e100", given, beyond & (given != 0.0))


def optimum(loss: str, annotator: PreferenceModel, proposal: Proposal, **parameters: Any) -> Optimum:
    r"""Where a loss leads: the best of all policies on the support, and what proves it.

    Parameters
    ----------
    loss : str
        A name or alias of the catalogue: "dpo", "ipo", "slic", "rso", "simpo", "rrhf", …
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        Who answers.
    proposal : ProductProposal, JointProposal or PairListProposal
        Which pairs are asked.
    **parameters
        Those of the loss: ``beta``, ``tau``, ``alpha``, ``delta``, ``lambda_``, … and ``reference`` (:math:`\pi_{pre}`)
        or ``lengths`` where it has them.

    Returns
    -------
    Optimum
        Where no policy is the best one, `policy` is None or a limit, and `reason` says why and what would help.

    Raises
    ------
    TypeError
        If a parameter is missing or superfluous.
    ValueError
        If the loss is unknown, sizes differ, or a number is out of range.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([4, 1], support=["tea", "coffee"]), pb.luce())
    >>> reference, pairs = pb.uniform(["tea", "coffee"]), pb.ProductProposal([1, 1])
    >>> found = pb.optimum("dpo", annotator, pairs, beta=2.0, reference=reference)  # Eq. (16): roots of 4 and 1
    >>> found.policy.pmf.round(6), found.proof, found.converged
    (array([0.666667, 0.333333]), 'divergence', True)
    >>> pb.optimum("dpo", annotator, pb.PairListProposal([0], [0]), beta=2.0, reference=reference).reason
    "comparisons fall into 2 groups: compare 'tea' with 'coffee'"
    """
    instance("loss", loss, str, "a name")
    check_models(annotator, proposal)
    record, known = loss_named(loss), optimum_parameters(loss)
    missing = [name for name, default in known.items() if default is inspect.Parameter.empty and name not in parameters]
    unknown = [name for name in parameters if name not in known]
    if missing or unknown:
        words = (f"`{name}`" if d is inspect.Parameter.empty else f"{name}={d!r}" for name, d in known.items())
        got = ", ".join(f"`{name}`" for name in parameters) or "none"
        raise TypeError(f"the optimum of {record.name!r} takes {', '.join(words) or 'no parameters'}; got {got:.100}")
    if "reference" in parameters and not (parameters["reference"] is None and known["reference"] is None):
        kind = "a FiniteDistribution or ConditionalDistribution"
        instance("reference", parameters["reference"], EITHER_DISTRIBUTION, kind)
        same_support("reference", parameters["reference"].support, "annotator", annotator.support)
    check_parameters(record, parameters)
    assert record.optimum is not None
    # A closed form needs no loop over prompts, and weights of a mixture are the same at all of them.
    closed = isinstance(annotator, Annotator) and record.is_logistic and "tokens" not in known
    if prompts_of(annotator) is None or closed or record.family == "mixture":
        return record.optimum(annotator, proposal, **parameters)
    return at_each_prompt(record.optimum, annotator, proposal, parameters)
