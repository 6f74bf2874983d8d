"""The results of mutation testing as the tables of README.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import NormalDist

__all__ = ["write_report"]

HERE = Path(__file__).parent
BEGIN, END = "<!-- made by mutate.py: -->", "<!-- end of what mutate.py makes -->"
Z = NormalDist().inv_cdf(0.975)


def wilson(killed: int, tried: int, population: int) -> tuple[float, float]:
    """A 95 % confidence interval of a share; of a population that was tried as a whole, the share itself."""
    if tried == population:
        return killed / tried, killed / tried
    share = killed / tried
    # Draws without replacement vary less, as more draws would.
    draws = tried / (1 - tried / population)
    z2 = Z**2 / draws
    half = Z / (1 + z2) * (share * (1 - share) / draws + z2 / (4 * draws)) ** 0.5
    middle = (share + z2 / 2) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def estimate(rows: Iterable[tuple[int, int, int]]) -> tuple[float, float]:
    """The share of all modules' mutants from each one's sample, and half its 95 % confidence interval."""
    rows = list(rows)
    total = sum(population for _, _, population in rows)
    share = sum(population * killed / tried for killed, tried, population in rows) / total
    variance = 0.0
    for killed, tried, population in rows:
        # A sample without survivors does not prove that there are none.
        moved = (killed + 1) / (tried + 2)
        variance += (population / total) ** 2 * moved * (1 - moved) / tried * (1 - tried / population)
    return share, Z * variance**0.5


def percent(share: float) -> str:
    """With one decimal place where that tells it from 100."""
    return f"{100 * share:.0f}" if share in (0.0, 1.0) else f"{100 * share:.1f}"


def tables(results: list[dict], explanations: dict[str, str]) -> str:
    """The table of modules and the list of survivors, in Markdown."""
    by_module: dict[str, list[dict]] = {}
    for one in results:
        by_module.setdefault(one["module"], []).append(one)
    lines = [
        "| module | mutants | tried | killed | by a time limit | % killed | 95 % interval | equivalent | left |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows, judged, kinds, sums = [], [], Counter(), Counter()
    for name, found in by_module.items():
        tried, population = len(found), found[0]["population"]
        killed = sum(bool(one["killed_by"]) for one in found)
        late = sum(one["killed_by"] == "time limit" for one in found)
        survivors = [one for one in found if not one["killed_by"]]
        equivalent = sum(explanations.get(one["key"], "").startswith("equivalent") for one in survivors)
        low, high = wilson(killed, tried, population)
        interval = "all tried" if tried == population else f"{percent(low)}–{percent(high)}"
        lines.append(
            f"| {name} | {population} | {tried} | {killed} | {late} | {percent(killed / tried)} | {interval} "
            f"| {equivalent} | {len(survivors) - equivalent} |"
        )
        rows.append((killed, tried, population))
        judged.append((killed + equivalent, tried, population))
        sums.update(population=population, tried=tried, killed=killed, late=late, equivalent=equivalent)
        kinds.update(one["operator"] for one in survivors)
    (share, half), (with_equivalent, half_equivalent) = estimate(rows), estimate(judged)
    lines += [
        f"| **all** | {sums['population']} | {sums['tried']} | {sums['killed']} | {sums['late']} | "
        f"{percent(sums['killed'] / sums['tried'])} | | {sums['equivalent']} | "
        f"{sums['tried'] - sums['killed'] - sums['equivalent']} |",
        "",
        f"Of all mutants of these modules, weighted by how many each has, **{percent(share)} ± {100 * half:.1f} %** "
        f"are killed; with the equivalent ones counted as harmless, {percent(with_equivalent)} ± "
        f"{100 * half_equivalent:.1f} %.",
        "",
        "Survivors by kind: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) + ".",
        "",
        "### Survivors",
        "",
        "| module and function | edit | why it survives |",
        "|---|---|---|",
    ]
    for one in results:
        if not one["killed_by"]:
            module, inside, edit = one["key"].split(":", 2)
            why = explanations.get(one["key"]) or one["note"] or "not explained"
            lines.append(f"| {module}, {inside} | {_short(edit)} | {why} |")
    return "\n".join(lines)


def _short(edit: str) -> str:
    parts = edit.strip().replace("|", "\\|").split("` → `")
    return "` → `".join(part if len(part) <= 90 else f"{part[:60]} … {part[-25:]}" for part in parts)


def write_report(paths: Iterable[Path]) -> None:
    """Put the tables between README.md's marks. Of a mutant that was tried more than once the last result counts."""
    latest: dict[str, dict] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            latest[one["key"]] = one
    results = sorted(latest.values(), key=lambda o: (o["module"].count("/"), o["module"], o["line"], o["key"]))
    explanations = json.loads((HERE / "explanations.json").read_text(encoding="utf-8"))
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{tables(results, explanations)}\n\n{END}{after}", encoding="utf-8")
    print(f"{len(results)} results; {sum(not one['killed_by'] for one in results)} survivors")
