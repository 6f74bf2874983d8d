"""Many seeds at once: in several processes, with a journal from which an interrupted run is taken up again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pbde_ref.files import content_digest, named, read_bytes
from pbde_ref.processes import Call, Workers, finished
from pbde_ref.threads import one_blas_thread
from pbde_ref.verification.claims import Claim, Row, Verdict, check
from pbde_ref.verification.problems import PAPER, problem_named, problem_names

__all__ = ["Campaign", "verdicts_by_seed"]

# Eq. (10) is the same for all seeds. It is checked once, in the place of a seed.
PAPER_SEED = -1

MOST_JOURNAL = 2**30
"""Bytes of a journal that is read."""


@dataclass(frozen=True)
class Campaign:
    """What is checked, and on which problems.

    Attributes
    ----------
    claims : mapping of str to Claim
    seeds : sequence of int
    support : int
        Grid points of Eq. (10).
    repetitions : int
        Random problems of each family and seed.
    """

    claims: Mapping[str, Claim]
    seeds: Sequence[int]
    support: int
    repetitions: int

    def stamp(self) -> dict[str, Any]:
        """What a journal's verdicts are worth nothing without: settings, version and source of this package."""
        digest = hashlib.sha256()
        root = Path(__file__).parents[1]
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
        return {
            "version": version("pbde-ref"), "source": digest.hexdigest(), "claims": list(self.claims),
            "support": self.support, "repetitions": self.repetitions,
        }  # fmt: skip


def verdicts_by_seed(
    campaign: Campaign, executor: Workers = 1, journal: Path | None = None, notice: Callable[[str], object] = len
) -> Iterator[tuple[int | None, list[Verdict]]]:
    """Each seed's verdicts on its random problems as they become known, and those on Eq. (10), whose seed is None.

    Parameters
    ----------
    campaign : Campaign
    executor : int or concurrent.futures.Executor
        So many processes of this machine, 1 being this process, or who else computes. Each has one thread of linear
        algebra.
    journal : path, optional
        A line is appended there for each seed. Lines with these settings, written by this very state of the package and
        unchanged since are not computed again; the others are left alone, so that campaigns can share a journal.
    notice : callable, optional
        Told how many lines do not count.

    Raises
    ------
    ValueError
        If the journal is larger than 1 GiB.
    OSError
        If it cannot be read or written to.
    """
    stamp = content_digest(campaign.stamp())
    done = {} if journal is None else _kept(journal, stamp, campaign.claims, notice)
    wanted = [PAPER_SEED, *campaign.seeds]
    for seed in wanted:
        if seed in done:
            yield (None if seed == PAPER_SEED else seed), done[seed]
    waiting = [seed for seed in wanted if seed not in done]
    arguments = (list(campaign.claims), campaign.support, campaign.repetitions)
    calls = (Call(seed, _seed_records, (seed, *arguments)) for seed in waiting)
    for seed, records in finished(lambda: next(calls, None), executor):
        if journal is not None:
            line = {"campaign": stamp, "seed": seed, "verdicts": records}
            _append(journal, json.dumps(line | {"digest": content_digest(line)}) + "\n")
        yield (None if seed == PAPER_SEED else seed), [_restored(record, campaign.claims) for record in records]


def _append(journal: Path, text: str) -> None:
    with named(journal), journal.open("a", encoding="utf-8") as file:
        file.write(text)


def _kept(
    journal: Path, stamp: str, claims: Mapping[str, Claim], notice: Callable[[str], object]
) -> dict[int, list[Verdict]]:
    """What a journal holds of this campaign; it is begun if there is none."""
    content = read_bytes(journal, limit=MOST_JOURNAL) if journal.exists() else b""
    # The end of a line that was not finished; or a look whether anything can be written there, before the long work.
    _append(journal, "" if content.endswith(b"\n") or not content else "\n")
    kept, others = dict[int, list[Verdict]](), 0
    for line in filter(None, content.split(b"\n")):
        try:
            record = json.loads(line)
            if record.pop("digest") != content_digest(record) or record["campaign"] != stamp:
                raise ValueError("of another campaign, or not as it was written")
            kept[record["seed"]] = [_restored(verdict, claims) for verdict in record["verdicts"]]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            others += 1
    if others:
        notice(f"{journal}: {others:,} lines of another campaign (settings, version, sources) or damaged, left alone")
    return kept


def _seed_records(seed: int, names: Sequence[str], support: int, repetitions: int) -> list[dict[str, Any]]:
    """One seed's verdicts as plain values, which another process and a journal can hold."""
    from pbde_ref.verification import CLAIMS

    drawn = [PAPER] if seed == PAPER_SEED else problem_names(repetitions)[1:]
    problems = [problem_named(name, support, max(seed, 0)) for name in drawn]
    with one_blas_thread():
        verdicts = list(check([CLAIMS[name] for name in names], problems))
    return [{**asdict(v), "claim": v.claim.name} for v in verdicts]


def _restored(record: Mapping[str, Any], claims: Mapping[str, Claim]) -> Verdict:
    one = {name: record[name] and Row(**record[name]) for name in ("worst", "closest")}
    many = {name: tuple(Row(**row) for row in record[name]) for name in ("failures", "missed")}
    return Verdict(**{**record, "claim": claims[record["claim"]], **one, **many})
