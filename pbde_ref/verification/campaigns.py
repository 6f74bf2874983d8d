"""Many seeds at once: in several processes, with a journal from which an interrupted run is taken up again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pbde_ref.processes import Call, Workers, finished
from pbde_ref.threads import one_blas_thread
from pbde_ref.verification.claims import Claim, Row, Verdict, check
from pbde_ref.verification.problems import PAPER, problem_named, problem_names

__all__ = ["Campaign", "verdicts_by_seed"]

# Eq. (10) is the same for all seeds. It is checked once, in the place of a seed.
PAPER_SEED = -1


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
    campaign: Campaign, executor: Workers = 1, journal: Path | None = None
) -> Iterator[tuple[int | None, list[Verdict]]]:
    """Each seed's verdicts on its random problems as they become known, and those on Eq. (10), whose seed is None.

    Parameters
    ----------
    campaign : Campaign
    executor : int or concurrent.futures.Executor
        So many processes of this machine, 1 being this process, or who else computes. Each has one thread of linear
        algebra.
    journal : path, optional
        A line is written there for each seed; those that it already holds are not computed again.

    Raises
    ------
    ValueError
        If the journal was written with other settings or by another state of this package.
    """
    done = {} if journal is None else _opened(journal, campaign.stamp())
    wanted = [PAPER_SEED, *campaign.seeds]
    for seed in wanted:
        if seed in done:
            yield _known(seed, done[seed], campaign.claims)
    waiting = [seed for seed in wanted if seed not in done]
    arguments = (list(campaign.claims), campaign.support, campaign.repetitions)
    calls = (Call(seed, _seed_records, (seed, *arguments)) for seed in waiting)
    for seed, records in finished(lambda: next(calls, None), executor):
        if journal is not None:
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"seed": seed, "verdicts": records}) + "\n")
        yield _known(seed, records, campaign.claims)


def _known(seed: int, records: list[dict[str, Any]], claims: Mapping[str, Claim]) -> tuple[int | None, list[Verdict]]:
    return (None if seed == PAPER_SEED else seed), [_restored(record, claims) for record in records]


def _opened(journal: Path, stamp: Mapping[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """What a journal holds; it is begun if there is none, and a line that was not finished is dropped."""
    if not journal.exists():
        journal.write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        return {}
    whole = journal.read_text(encoding="utf-8").rpartition("\n")[0].split("\n")
    if json.loads(whole[0] or "null") != stamp:
        raise ValueError(
            f"`journal` must have been written with these claims, support and repetitions by this very state of the "
            f"package; got {str(journal)!r}"
        )
    journal.write_text("\n".join(whole) + "\n", encoding="utf-8")
    return {line["seed"]: line["verdicts"] for line in map(json.loads, whole[1:])}


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
