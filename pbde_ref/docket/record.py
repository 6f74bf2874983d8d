"""What a published claim is, how it is settled, and what becomes of a check that raises."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pbde_ref.display import Shown
from pbde_ref.validation import array

__all__ = ["FAILS", "HOLDS", "HOLDS_IF", "DocketClaim", "Finding", "Settled", "finding", "settle"]

HOLDS, HOLDS_IF, FAILS = "holds", "holds if", "fails"


@dataclass(frozen=True, eq=False)
class Finding(Shown):
    """What a claim's check measured; `finding` makes one.

    Attributes
    ----------
    verdict : str
        "holds", "holds if" (with the record's hypothesis, not without) or "fails".
    error : float
        The largest error of the statement that the verdict is about: as printed, or with the hypothesis.
    tolerance : float
        What rounding, and a solver's proved gap, may leave of it.
    certificate : str
        What the error was measured against, in words.
    witness : str
        A smallest instance where the statement as printed fails, in fractions where possible; empty where it holds.
    numbers : mapping of str to float
        What else was measured.
    instead : float
        The largest error of what is true instead of a statement that fails; 0 where nothing is said to be.
    """

    verdict: str
    error: float
    tolerance: float
    certificate: str
    witness: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    instead: float = 0.0


def finding(
    printed: float,
    tolerance: float,
    certificate: str,
    *,
    supposing: float | None = None,
    instead: float = 0.0,
    witness: str = "",
    numbers: Mapping[str, float] | None = None,
) -> Finding:
    """The verdict that follows from errors: of the statement as printed, and of the one with the hypothesis.

    Parameters
    ----------
    printed : float
        Largest error of the statement as printed, on instances that it speaks of.
    tolerance : float
    certificate, witness, numbers
        As in `Finding`.
    supposing : float, optional
        Largest error on instances that meet the record's hypothesis as well; omitted where none is proposed.
    instead : float
        Largest error of what is true instead.

    Raises
    ------
    ValueError
        If an error is not a number, which is no evidence, or a statement that does not hold as printed has no witness.

    Examples
    --------
    >>> finding(0.5, 1e-12, "exact fractions", supposing=0.0, witness="P = 3/4").verdict
    'holds if'
    """
    for name, error in {"printed": printed, "supposing": supposing or 0.0, "instead": instead}.items():
        array(name, error)
    if printed <= tolerance:
        return Finding(HOLDS, printed, tolerance, certificate, numbers=numbers or {}, instead=instead)
    if not witness:
        raise ValueError(f"`witness` must say where the statement as printed fails; its error is {printed:.1e}")
    saved = supposing is not None and supposing <= tolerance
    error = supposing if supposing is not None and saved else printed
    return Finding(HOLDS_IF if saved else FAILS, error, tolerance, certificate, witness, numbers or {}, instead)


@dataclass(frozen=True, eq=False)
class DocketClaim(Shown):
    """One statement of a publication.

    Attributes
    ----------
    name : str
        At most 26 characters; what ``--claim`` takes.
    source : str
        Authors, year, arXiv number, theorem.
    seen : str
        What of it was read: "full text", "abstract only", "as cited by …".
    printed : str
        The statement, in our own words.
    read : str
        Its exact form on finite supports, as it was checked.
    hypothesis : str
        What it needs; for a statement that fails, what is true instead.
    instance : str
        What it was checked on.
    expected : str
        The verdict that the documentation states. It is compared with what `check` finds, and never takes its place.
    check : callable
        From a `numpy.random.Generator` to a `Finding`, computed from scratch.
    control : callable
        From a generator to the error that the same check finds without the hypothesis (of a statement that fails: of
        what is true instead, broken), which must exceed the tolerance.
    """

    name: str
    source: str
    seen: str
    printed: str
    read: str
    hypothesis: str
    instance: str
    expected: str
    check: Callable[[np.random.Generator], Finding]
    control: Callable[[np.random.Generator], float]

    @property
    def arxiv(self) -> str:
        """The source's number, or its first word."""
        found = re.search(r"\d{4}\.\d{5}", self.source)
        return found[0] if found else self.source.split()[0]


@dataclass(frozen=True, eq=False)
class Settled(Shown):
    """What became of one claim.

    Attributes
    ----------
    claim : DocketClaim
    finding : Finding or None
        None where the check raised.
    raised : str
        What the check raised, or "".
    control_error : float
        Zero where the control raised or is not a number: it has caught nothing.
    control_raised : str
    seconds : float
    """

    claim: DocketClaim
    finding: Finding | None
    raised: str
    control_error: float
    control_raised: str
    seconds: float

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the documented one, and what is true instead is."""
        found = self.finding
        return found is not None and found.verdict == self.claim.expected and found.instead <= found.tolerance

    @property
    def control_caught(self) -> bool:
        """Whether the check notices that the hypothesis is dropped."""
        return self.finding is not None and self.control_error > self.finding.tolerance


def settle(claims: Iterable[DocketClaim], seed: int) -> Iterator[Settled]:
    """Check each claim and its control; whatever they raise is written down.

    A claim's instances depend on its name and the seed, not on which claims are settled beside it.
    """
    for claim in claims:
        start = time.perf_counter()
        children = np.random.SeedSequence([seed, *claim.name.encode()]).spawn(2)
        found, control_error, raised, control_raised = None, 0.0, "", ""
        try:
            found = claim.check(np.random.default_rng(children[0]))
        except Exception as error:
            raised = f"{type(error).__name__:.60}: {error}"
        try:
            control_error = float(claim.control(np.random.default_rng(children[1])))
        except Exception as error:
            control_raised = f"{type(error).__name__:.60}: {error}"
        control_error = 0.0 if math.isnan(control_error) else control_error
        yield Settled(claim, found, raised, control_error, control_raised, time.perf_counter() - start)
