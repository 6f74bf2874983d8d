"""``pbde-ref docket``: what has been published about learning from preferences, and whether it is so."""

from __future__ import annotations

import argparse
from collections import Counter
from importlib.metadata import version
from textwrap import fill, shorten
from typing import Any

from tqdm import tqdm

from pbde_ref.cli.arguments import finite_or_none, output_path, table, whole
from pbde_ref.docket import DOCKET, FAILS, Settled, settle
from pbde_ref.files import write_atomically, write_json

__all__ = ["add_arguments", "run"]

GREATEST_SEED = 2**63 - 1
INTRODUCTION = """# The docket

What has been published about learning from preferences, restated in our words on finite supports, and settled exactly:
what `pbde-ref docket --page docs/docket.md` writes. *holds*: as printed; *holds if*: with the hypothesis named, and not
without it; *fails*: on the witness given. Nobody is accused of anything: most papers state their results for settings
in which they are true, and each entry says how the sentence was read and how much of the source was. "Our question"
marks a reading that goes beyond what was seen of the source: its verdict is about the question, not about the paper.
Verdicts are computed, never written down; each check is also tried with its hypothesis dropped, and must notice.
"""
ROWS = {
    "Source": "source", "Seen": "seen", "As printed": "printed", "As read": "read", "Hypothesis": "hypothesis",
    "Instance": "instance",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref docket``."""
    parser.description = (
        "Settle published claims about learning from preferences, each on exact finite instances. Exit status 1 if a "
        "verdict is not the documented one, a check raises, or a control is not noticed."
    )
    parser.add_argument("--claim", metavar="NAME", choices=list(DOCKET), help="only this one, and all about it")
    parser.add_argument("--seed", metavar="S", type=whole(0, GREATEST_SEED), default=0, help="of what is drawn [0]")
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write the results there")
    parser.add_argument("--page", metavar="PATH", type=output_path(".md"), help="also write them as a page there")


def run(options: argparse.Namespace) -> int:
    """Print a row per claim, or all about one; exit status 1 unless everything is as documented."""
    claims = [DOCKET[options.claim]] if options.claim else list(DOCKET.values())
    print(f"seed {options.seed}\n")
    bar = tqdm(settle(claims, options.seed), total=len(claims), desc="docket", unit="claim", disable=None, leave=False)
    found = list(bar)
    if options.claim:
        print("\n".join(fill(f"{name}: {text}", 80, subsequent_indent="    ") for name, text in _entry(found[0])))
    else:
        print(table([_cells(s) for s in found], ["claim", "arXiv", "verdict", "err", "tol", "control", "s"]))
    for settled in found:
        for fault in _faults(settled):
            print("\n" + fill(f"{settled.claim.name}: {fault}", 80, subsequent_indent="    "))
    well = sum(not _faults(s) for s in found)
    counts = Counter(s.finding.verdict for s in found if s.finding)
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), reverse=True))
    print("\n" + fill(f"{said or 'nothing settled'}; {well} of {len(found)} as documented, their controls noticed", 80))
    if options.json:
        write_json(options.json, _record(found, options.seed))
    if options.page:
        write_atomically(options.page, _page(found).encode())
    return 0 if well == len(found) else 1


def _cells(settled: Settled) -> list[str]:
    found, claim = settled.finding, settled.claim
    verdict, error, tolerance = ("RAISED", "", "") if found is None else (
        found.verdict, f"{found.error:.0e}", f"{found.tolerance:.0e}")  # fmt: skip
    caught = "noticed" if settled.control_caught else "MISSED"
    return [claim.name, claim.arxiv, verdict, error, tolerance, caught, f"{settled.seconds:.1f}"]


def _faults(settled: Settled) -> list[str]:
    found, expected, faults = settled.finding, settled.claim.expected, []
    if found is None:
        faults.append(shorten(f"its check raised {settled.raised}", 300))
    elif found.verdict != expected:
        faults.append(f"{found.verdict!r} was found (error {found.error:.1e}), {expected!r} is documented")
    elif not settled.as_expected:
        faults.append(f"what is said to be true instead has error {found.instead:.1e}")
    if not settled.control_caught:
        raised = shorten(settled.control_raised, 200)
        faults.append(f"its control was not noticed: {raised or f'error {settled.control_error:.1e}'}")
    return faults


def _entry(settled: Settled) -> list[tuple[str, str]]:
    """All about one claim, in pairs of a heading and a text."""
    claim, found = settled.claim, settled.finding
    names = {"Hypothesis": "True instead"} if claim.expected == FAILS else {}
    rows = [(names.get(name, name), getattr(claim, attribute)) for name, attribute in ROWS.items()]
    if found is not None:
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in found.numbers.items())
        rows += [
            ("Certificate", found.certificate),
            ("Verdict", f"{found.verdict} (error {found.error:.1e}, tolerance {found.tolerance:.0e})"),
            ("Witness", found.witness),
            ("Numbers", numbers),
        ]
    fails = claim.expected == FAILS
    dropped = "what is true instead, once broken, has error" if fails else "without the hypothesis the error is"
    control = f"{dropped} {settled.control_error:.1e}"
    return [(name, text) for name, text in [*rows, ("Control", control)] if text]


def _page(found: list[Settled]) -> str:
    """The documentation's page: a table, then all about each claim."""
    parts = [INTRODUCTION, "| claim | source | verdict |\n|---|---|---|"]
    parts += [f"| [`{s.claim.name}`](#{s.claim.name}) | {s.claim.source} | {_cells(s)[2]} |" for s in found]
    for settled in found:
        parts.append(f"\n## {settled.claim.name}\n")
        parts += [f"- **{name}.** {text}" for name, text in _entry(settled)]
    return "\n".join([*parts, ""])


def _record(found: list[Settled], seed: int) -> dict[str, Any]:
    return {
        "version": version("pbde-ref"),
        "seed": seed,
        "claims": [
            {
                "name": s.claim.name,
                **{attribute: getattr(s.claim, attribute) for attribute in (*ROWS.values(), "expected")},
                "verdict": s.finding and s.finding.verdict,
                "error": s.finding and finite_or_none(s.finding.error),
                "tolerance": s.finding and s.finding.tolerance,
                "certificate": s.finding and s.finding.certificate,
                "witness": s.finding and s.finding.witness,
                "numbers": {k: finite_or_none(float(v)) for k, v in s.finding.numbers.items()} if s.finding else {},
                "raised": s.raised,
                "control": {
                    "error": finite_or_none(s.control_error), "noticed": s.control_caught, "raised": s.control_raised,
                },
                "as_documented": s.as_expected,
                "seconds": s.seconds,
            }
            for s in found
        ],
    }  # fmt: skip
