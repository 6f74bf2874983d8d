"""How good `check_fitter` is, measured: bugs planted in right fitters, and right fitters that must not fail.

``python -m tests.oracle.planted_fitters`` prints both tables as Markdown; a number after it is the seed. The fitters
are texts that use nothing of this package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from pbde_ref.oracle.fitters.check import check_fitter
from pbde_ref.oracle.report import Report

__all__ = ["PLANTED", "RIGHT", "Planted", "Subject", "build", "kill_table", "main", "right_table"]

_ROWS = """
def rows(left, right, outcome, weights):
    names = sorted({*left, *right})
    place = {name: i for i, name in enumerate(names)}
    times = np.ones(len(left)) if weights is None else np.array(weights)
    a, b = np.array([place[x] for x in left]), np.array([place[x] for x in right])
    return names, a, b, np.array([{"left": 1.0, "right": 0.0, "tie": 0.5}[said] for said in outcome]), times

def refuse_unless_strong(wins):
    reach = np.linalg.matrix_power((wins > 0) + np.eye(len(wins)), len(wins))
    if not (reach > 0).all():
        raise ValueError("no finite estimate")
"""
SOURCES = {
    "mm": """
def fit(left, right, outcome, weights=None):
    names, a, b, share, times = rows(left, right, outcome, weights)
    n = len(names)
    wins = np.zeros((n, n))
    np.add.at(wins, (a, b), times * share)
    np.add.at(wins, (b, a), times * (1.0 - share))
    refuse_unless_strong(wins)
    games, total, p = wins + wins.T, wins.sum(axis=1), np.ones(n)
    for _ in range(40000):
        old = p.copy()
        p = total / (games / np.add.outer(p, p)).sum(axis=1)
        p = p / p.sum()
        if np.abs(np.log(p / old)).max() < 1e-13:
            break
    return dict(zip(names, p))
""",
    "newton": """
def fit(left, right, outcome, weights=None):
    names, a, b, share, times = rows(left, right, outcome, weights)
    n = len(names)
    wins = np.zeros((n, n))
    np.add.at(wins, (a, b), times * share)
    np.add.at(wins, (b, a), times * (1.0 - share))
    if not ridge:
        refuse_unless_strong(wins)
    games, total, at = wins + wins.T, wins.sum(axis=1), np.zeros(n)
    for _ in range(60):
        chance = expit(np.subtract.outer(at, at))
        bend = games * chance * chance.T
        slope = (games * chance).sum(axis=1) - total + ridge * at
        hessian = np.diag(bend.sum(axis=1)) - bend + (ridge * np.eye(n) if ridge else np.ones((n, n)))
        step = np.linalg.solve(hessian, slope)
        at = at - step / max(1.0, np.abs(step).max() / 2.0)
    inverse = np.linalg.inv(hessian) - (0.0 if ridge else np.ones((n, n)) / n**2)
    half = share == 0.5
    chances = expit(at[a] - at[b])
    apart = np.eye(n)[a] - np.eye(n)[b]
    middle = apart.T @ ((times * (share - chances) ** 2)[:, None] * apart)
    covariance = inverse @ middle @ inverse if half.any() else inverse
    if ridge:
        covariance = covariance - covariance.mean(axis=0)
        covariance = covariance - covariance.mean(axis=1)[:, None]
    at = at - at.mean()
    errors = np.sqrt(np.diag(covariance))
    return dict(zip(names, zero + unit * at)), dict(zip(names, unit * errors))
""",
    "davidson": """
def fit(left, right, outcome, weights=None):
    names, a, b, share, times = rows(left, right, outcome, weights)
    n, tie = len(names), share == 0.5
    if set(outcome) == {"tie"} or not tie.any():
        tie = tie & False
    else:
        pass
    wins = np.zeros((n, n))
    np.add.at(wins, (a, b), share)
    np.add.at(wins, (b, a), 1.0 - share)
    refuse_unless_strong(wins)

    def cost(x):
        d, k = x[a] - x[b], x[n]
        parts = np.array([d / 2.0, -d / 2.0, np.full(len(d), k if tie.any() else -1e9)])
        top = parts.max(axis=0)
        logs = parts - top - np.log(np.exp(parts - top).sum(axis=0))
        which = np.where(tie, 2, np.where(share == 1.0, 0, 1))
        p = np.exp(logs)
        gain = ((which == 0) - p[0] - (which == 1) + p[1]) / 2.0
        slope = np.bincount(a, times * gain, n) - np.bincount(b, times * gain, n)
        last = (times * ((which == 2) - p[2])).sum() if tie.any() else 0.0
        return -(times * logs[which, np.arange(len(d))]).sum(), -np.append(slope, last)

    x = np.zeros(n + 1)
    for _ in range(3):
        x = minimize(cost, x, jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000}).x
    for _ in range(2):
        h = 1e-5
        hessian = np.array([(cost(x + h * e)[1] - cost(x - h * e)[1]) / (2 * h) for e in np.eye(n + 1)])
        x = x - np.linalg.lstsq(hessian, cost(x)[1], rcond=1e-9)[0]
    return dict(zip(names, x[:n]))
""",
    "bootstrap": """
def fit(left, right, outcome, weights=None):
    names, a, b, share, times = rows(left, right, outcome, weights)
    n, rng = len(names), np.random.default_rng(1)

    def one(counts):
        wins = np.zeros((n, n))
        np.add.at(wins, (a, b), counts * share)
        np.add.at(wins, (b, a), counts * (1.0 - share))
        refuse_unless_strong(wins)
        games, total, at = wins + wins.T, wins.sum(axis=1), np.zeros(n)
        for _ in range(30):
            chance = expit(np.subtract.outer(at, at))
            bend = games * chance * chance.T
            hessian = np.diag(bend.sum(axis=1)) - bend + np.ones((n, n))
            step = np.linalg.solve(hessian, (games * chance).sum(axis=1) - total)
            at = at - step / max(1.0, np.abs(step).max() / 2.0)
            if np.abs(step).max() < 1e-12:
                break
        return at - at.mean()

    at, drawn = one(times), []
    for _ in range(60):
        with suppress(ValueError):
            drawn.append(one(rng.multinomial(times.sum(), times / times.sum())))
    deviation = np.std(drawn, axis=0)
    return dict(zip(names, at)), {name: (x - 1.96 * s, x + 1.96 * s) for name, x, s in zip(names, at, deviation)}
""",
}


@dataclass(frozen=True)
class Subject:
    """A right fitter: its text, what it says it computes, and the names that the text reads."""

    source: str
    declared: dict[str, Any] = field(default_factory=dict)
    given: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Planted:
    """A bug: pieces of a right text, what stands there instead, and a part of what the diagnosis must say."""

    subject: Subject
    old: str
    new: str
    says: str


_MM = Subject("mm", {"scale": "odds", "anchor": "sum:1", "ties": "half"})
_PLAIN = {"unit": 1.0, "zero": 0.0, "ridge": 0.0}
_NEWTON = Subject("newton", {"ties": "half", "anchor": "mean:0"}, _PLAIN)
_ELO = Subject("newton", {"ties": "half", "scale": "elo", "anchor": "mean:1000"},
               {"unit": 400.0 / np.log(10.0), "zero": 1000.0, "ridge": 0.0})  # fmt: skip
_RIDGE = Subject("newton", {"ridge": 0.7}, _PLAIN | {"ridge": 0.7})
_DAVIDSON = Subject("davidson", {"ties": "davidson"})
_BOOTSTRAP = Subject("bootstrap", {"anchor": "mean:0"})
RIGHT = {
    "Zermelo's iteration, strengths": _MM, "Newton, nats": _NEWTON, "Newton, Elo": _ELO, "Newton, ridge": _RIDGE,
    "Davidson, quasi-Newton": _DAVIDSON, "bootstrap": _BOOTSTRAP,
}  # fmt: skip

_STEP = "        p = total / (games / np.add.outer(p, p)).sum(axis=1)\n        p = p / p.sum()"
_AT = "    at = at - at.mean()\n"
_TIMES = "    n = len(names)\n"
PLANTED: tuple[Planted, ...] = (
    Planted(_MM, "        old = p.copy()\n" + _STEP,
            "        old = p if _ else p.copy()\n        p[:] = total / (games "
            "/ np.add.outer(p, p)).sum(axis=1)\n        p /= p.sum()", "crowd-kit 1.4.2"),
    Planted(_MM, "        if np.abs(np.log(p / old)).max() < 1e-13:", "        if _ == 1:", "crowd-kit 1.4.2"),
    Planted(_MM, "< 1e-13", "< 1e-3", "stops early"),
    Planted(_MM, "range(40000)", "range(25)", "stops early"),
    Planted(_MM, "total / (games", "(total + 0.1) / ((games + 0.1)", "GABRIEL #73"),
    Planted(_MM, "    return dict", "    p = 1.0 / p\n    return dict", "sign is inverted"),
    Planted(_MM, "    return dict", "    p = total / games.sum(axis=1); p = p / (1 - p)\n    return dict",
            "share of wins, without"),
    Planted(_MM, "    refuse_unless_strong(wins)\n", "", "where a method stops"),
    Planted(_MM, "    refuse_unless_strong(wins)\n", "    wins = wins + 0.01 - 0.01 * np.eye(n)\n", ""),
    Planted(_MM, _STEP, "        p = ((wins * p / np.add.outer(p, p)).sum(axis=1) + 0.1 / (p + 1)) / ((wins.T / "
            "np.add.outer(p, p)).sum(axis=1) + 0.1 / (p + 1))\n        p = p / np.exp(np.log(p).mean())\n"
            "        if _ == 999: break",
            "elote #58"),
    Planted(_MM, _STEP, "        p = (total + 0.1) / ((games / np.add.outer(p, p)).sum(axis=1) + 0.2 / (p + 1))\n"
            "        p = p / np.exp(np.log(p).mean())", "elote 1.5.1"),
    Planted(_NEWTON, _TIMES, _TIMES + "    times = np.ones(len(times))\n", "weights are ignored"),
    Planted(_NEWTON, _TIMES, _TIMES + "    keep = np.unique([a, b, 2 * share], axis=1, return_index=True)[1]\n"
            "    a, b, share, times = a[keep], b[keep], share[keep], times[keep]\n", "equal rows count once"),
    Planted(_NEWTON, "    refuse_", "    wins = wins / np.maximum(wins + wins.T, 1e-300); refuse_", "each pair weighs"),
    Planted(_NEWTON, '"tie": 0.5', '"tie": 0.0', "wins of the right"),
    Planted(_NEWTON, '"tie": 0.5', '"tie": 1.0', "wins of the left"),
    Planted(_NEWTON, _TIMES, _TIMES + "    times = times * (share != 0.5)\n", "agrees with ties='drop'"),
    Planted(_NEWTON, _TIMES, _TIMES + "    times = times * (1 + (share == 0.5))\n", "whole win of either"),
    Planted(_NEWTON, _TIMES, _TIMES + "    tied = share == 0.5\n    both = np.intersect1d(a[tied], b[tied])\n"
            "    times = times * (~tied | np.isin(a, both) & np.isin(b, both))\n", "ai-agent-book #358"),
    Planted(_NEWTON, "inverse @ middle @ inverse if half.any() else inverse", "inverse", "half a win counted"),
    Planted(_NEWTON, "np.sqrt(np.diag(covariance))", "1.0 / np.sqrt(np.diag(hessian) - 1.0)",
            "each item by itself"),
    Planted(_NEWTON, "np.sqrt(np.diag(covariance))", "np.sqrt(np.maximum(np.diag(covariance) + covariance[0, 0] - "
            "2 * covariance[0], 0))", "errors of differences to"),
    Planted(_NEWTON, "np.sqrt(np.diag(covariance))", "2 * np.sqrt(np.diag(covariance))", "all errors times 2"),
    Planted(_NEWTON, "    names = sorted({*left, *right})", "    names = sorted({*left, *right})\n    "
            "if all(x[0] == 'm' for x in names): times_ = 0; left = sorted(left)", "tabarena #502"),
    Planted(_NEWTON, "    names, a, b, share, times = rows(left", "    if not left: return {'nobody': 0.0}\n"
            "    names, a, b, share, times = rows(left", "langwatch #6110"),
    Planted(_NEWTON, "        refuse_unless_strong(wins)", "        if min(wins.sum(axis=1).min(), wins.sum(axis=0)"
            ".min()) == 0: return dict.fromkeys(names, np.nan)\n        refuse_unless_strong(wins)", "tabarena #494"),
    Planted(_NEWTON, _AT, "    at = at - at.mean() + 3.0\n", ""),
    Planted(_NEWTON, _AT, "    at = np.cumsum(share * times)[-1] * 0 + at - at.mean() + 1e-3 * np.arange(n)\n", ""),
    Planted(_NEWTON, "range(60)", "range(3)", ""),
    Planted(_ELO, "zero + unit * at", "zero + 400.0 * at", "another unit than declared"),
    Planted(_ELO, "zero + unit * at", "zero + 400.0 / np.log(2.0) * at", "another unit than declared"),
    Planted(_ELO, "+ ridge * at\n", "+ 1.0 * at\n", "agrees with ridge=1"),
    Planted(_ELO, "+ ridge * at\n", "+ 0.2 * np.tanh(0.5 * at)\n", "pseudo:0.2"),
    Planted(_RIDGE, "+ ridge * at\n", "+ 0.0 * at\n", "agrees with no prior"),
    Planted(_RIDGE, "+ ridge * at\n", "+ 2.0 * ridge * at\n", "agrees with ridge=1.4"),
    Planted(_DAVIDSON, "d, k = x[a] - x[b]", "d, k = 2.0 * (x[a] - x[b])", "all differences times 0.5"),
    Planted(_DAVIDSON, "    x = np.zeros(n + 1)\n", "    tie = tie & False; share = share + 0.0; times = times * "
            "(share != 0.5)\n    x = np.zeros(n + 1)\n", "agrees with ties='drop'"),
    Planted(_BOOTSTRAP, "1.96 * s", "1.0 * s", ""),
    Planted(_BOOTSTRAP, "rng.multinomial(times.sum(), times / times.sum())", "rng.multinomial(4 * times.sum(), times / "
            "times.sum())", ""),
)  # fmt: skip


def build(subject: Subject, old: str = "", new: str = "") -> Callable[..., Any]:
    """The fitter of a text, with a piece of it replaced."""
    from contextlib import suppress

    text = _ROWS + SOURCES[subject.source]
    if old and old not in text:
        raise ValueError(f"`old` must be a piece of the text; got {old!r}")
    space: dict[str, Any] = {"np": np, "minimize": minimize, "expit": expit, "suppress": suppress, **subject.given}
    exec(compile(text.replace(old, new) if old else text, f"<{subject.source}>", "exec"), space)
    fit: Callable[..., Any] = space["fit"]
    return fit


def held(subject: Subject, seed: int, old: str = "", new: str = "") -> Report:
    """The report on a right fitter, or on one with a bug in it."""
    return check_fitter(build(subject, old, new), **subject.declared, seed=seed, on_failure="report", repetitions=100)


def kill_table(seed: int) -> str:
    """Markdown: a line for each planted bug, with the checks that found it and whether it was named."""
    lines = ["| planted | in | found by | said |", "|---|---|---|---|"]
    found = named = 0
    for bug in PLANTED:
        with np.errstate(all="ignore"):
            report = held(bug.subject, seed, bug.old, bug.new)
        failed = [result.name for result in report.results if result.status == "failed"]
        said = next((line for line in report.diagnoses if bug.says and bug.says in line), "")
        found, named = found + bool(failed), named + bool(said)
        change = " → ".join(f"`{' '.join(text.split())}`".replace("|", "\\|") for text in (bug.old, bug.new))
        lines.append(f"| {change} | {bug.subject.source} | {', '.join(failed) or '**nothing**'} | "
                     f"{said or ('**not named**' if bug.says else '')} |")  # fmt: skip
    count = sum(bool(bug.says) for bug in PLANTED)
    return "\n".join([*lines, "", f"{found} of {len(PLANTED)} found, {named} of {count} named."])


def right_table(seed: int) -> str:
    """Markdown: a line for each right fitter, with how many checks held something and how many failed."""
    lines = ["| fitter | declared | checks | false alarms |", "|---|---|---|---|"]
    for name, subject in RIGHT.items():
        reports = [held(subject, number) for number in range(seed, seed + 5)]
        failed = [f"{r.name} ({report.conventions['seed']})" for report in reports for r in report.results
                  if r.status == "failed"]  # fmt: skip
        declared = ", ".join(f"{key}={value!r}" for key, value in subject.declared.items())
        lines.append(f"| {name} | {declared} | {sum(report.held for report in reports)} | {', '.join(failed) or 0} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print both tables."""
    seed = int(arguments[0]) if arguments else 0
    print(f"Made by `python -m tests.oracle.planted_fitters {seed}`.\n\n## Planted bugs\n\n{kill_table(seed)}")
    print(f"\n## Right fitters, seeds {seed} to {seed + 4}\n\n{right_table(seed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
