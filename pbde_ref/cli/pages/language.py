"""What the experiments with language models found, as a page."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files

from pbde_ref.cli.arguments import table
from pbde_ref.cli.pages import grid, number
from pbde_ref.exact.lengths.length_bias import GROUP_PAIRS, LENGTH_BINS
from pbde_ref.experiments.language import models, positions, published
from pbde_ref.experiments.language.findings import bin_share, findings, preference_of, with_error
from pbde_ref.experiments.language.seeds import seed_headers, seed_rows
from pbde_ref.experiments.language.table_2 import RULES
from pbde_ref.experiments.records import Record

__all__ = [
    "findings_text", "has_figure_6", "language_page", "language_summary", "length_rows", "position_rows", "seeds_page",
    "table_2_rows",
]  # fmt: skip

TEXTS = tomllib.loads(files(__package__).joinpath("language.toml").read_text("utf-8"))
SAMPLE_NAMES = {
    "pairs": "whole",
    "samples-short": "short",
    "samples-long": "long",
    "annotator-mixture": "annotator mixture (27)",
    "density-mixture": "density mixture (28)",
}


def table_2_rows(records: Mapping[str, Record]) -> list[list[str]]:
    """A line for each annotator and rule: preferences with their 95 % intervals."""
    numbers = records["table-2"].numbers
    rows = []
    for kind in models.KINDS:
        for rule in RULES:
            found = [preference_of(numbers, f"{kind}.{rule}.{first}>{second}") for first, second in GROUP_PAIRS]
            rows.append([kind, _equation(rule), *("–" if entry is None else str(entry) for entry in found)])
    return rows


def _equation(rule: str) -> str:
    """As "Eq. 26, c = 50 without the end" for "scale 50 without end"."""
    said = rule.replace("luce", "Eq. 9").replace("scale", "Eq. 26, c =")
    return said.replace("without", "without the")


def length_rows(records: Mapping[str, Record]) -> list[list[str]]:
    """A line for each model that sentences were drawn from: shares of short, medium and long ones, and without end."""
    rows = []
    for name, shown in SAMPLE_NAMES.items():
        record = records[name]
        shares = [str(bin_share(record.arrays["length_counts"], which)) for which in LENGTH_BINS]
        rows.append([shown, *shares, f"{record.numbers['without_end']:.3f}"])
    return rows


def position_rows(records: Mapping[str, Record], kind: str = "whole") -> list[list[str]]:
    """A line for each range of positions: nats per piece that a model gives the pieces of S, M and L sentences."""
    numbers = records["positions"].numbers
    named = [*(f"{first}-{last}" for first, last in positions.POSITIONS), "pieces", "before_end", "end"]
    shown = [*(name.replace("-", " to ") for name in named[:-3]), "all but the end", "the one before it", "the end"]
    shown[0] = "1"
    return [
        [label, *(number(numbers[f"{kind}.{letter}.{name}"], 3) for letter in LENGTH_BINS)]
        for label, name in zip(shown, named, strict=True)
    ]


def findings_text(records: Mapping[str, Record]) -> list[str]:
    """A paragraph for each finding."""
    return [
        f"{'Shown' if finding.shown else 'Not shown'}: {finding.statement}. {finding.measured}."
        for finding in findings(records)
    ]


def has_figure_6(records: Mapping[str, Record]) -> bool:
    """Whether there is what Fig. 6 shows."""
    return set(SAMPLE_NAMES) <= set(records)


def language_summary(records: Mapping[str, Record]) -> str:
    """For the terminal: the tables and the findings."""
    parts = []
    if "table-2" in records:
        parts.append(table(table_2_rows(records), ["annotator", "rule", *_COLUMNS]))
    if has_figure_6(records):
        parts.append(table(length_rows(records), ["sentences from", "short", "medium", "long", "no end"]))
    return "\n\n".join([*parts, "\n".join(findings_text(records))])


_COLUMNS = [f"{first} ≻ {second}" for first, second in GROUP_PAIRS]


def language_page(records: Mapping[str, Record], command: str, image: str) -> str:
    """Markdown with the findings, Table 2, Fig. 6, and sentences; of those that there are records of."""
    parts = ["# Length bias and two annotators in language models", f"Made by `{command}`."]
    if "tokenizer" in records:
        parts.append(_corpus_text(records))
    parts.append(TEXTS["intervals"])
    parts += ["## Findings", "\n".join(f"- {text}" for text in findings_text(records))]
    if "table-2" in records:
        parts += _table_2(records)
    if has_figure_6(records):
        parts += _figure_6(records, image)
    if "two-components" in records:
        parts += _two_components(records["two-components"])
    parts.append("## Sentences")
    for name, shown in SAMPLE_NAMES.items():
        if name in records:
            parts += [f"*{shown}*", "\n".join(f"- {text}" for text in records[name].texts["sentences"])]
    return "\n\n".join(parts) + "\n"


def _table_2(records: Mapping[str, Record]) -> list[str]:
    compared = published.entries(records)
    beside = [
        [kind, _equation(rule), pair, f"{printed:.4f}", "–" if ours is None else str(ours), said]
        for kind, rule, pair, printed, ours, said in compared
    ]
    counts = ", ".join(f"{count} {said}" for said, count in Counter(entry[-1] for entry in compared).items())
    return [
        "## Table 2",
        TEXTS["table_2"],
        grid(table_2_rows(records), ["annotator", "rule", *_COLUMNS]),
        TEXTS["beside"].format(counts=counts, orders=published.orders_as_printed(records)),
        grid(beside, ["annotator", "rule", "preference", "printed", "here", "verdict"]),
        "## What a piece costs",
        TEXTS["pieces"],
        grid(position_rows(records), ["position", *LENGTH_BINS]),
    ]


def _figure_6(records: Mapping[str, Record], image: str) -> list[str]:
    distance, chance = published.from_theorem_2(records)
    drawn = [
        [shown, *(f"{share:.3f}" for share in published.NOTEBOOK_SHARES[name])] for name, shown in SAMPLE_NAMES.items()
    ]
    shares = [f"share {name}" for name in LENGTH_BINS]
    return [
        "## Figure 6",
        f"![figure-6]({image})",
        TEXTS["figure_6"],
        grid(length_rows(records), ["sentences from", *shares, "without end"]),
        TEXTS["notebook"],
        grid(drawn, ["sentences from", *shares]),
        TEXTS["theorem_2"].format(distance=distance, chance=chance, notebook=published.NOTEBOOK_FROM_THEOREM_2),
    ]


def _two_components(record: Record) -> list[str]:
    numbers, rows = record.numbers, []
    for i in (1, 2):
        shares = [str(bin_share(record.arrays[f"length_counts.{i}"], which)) for which in LENGTH_BINS]
        rows.append([str(i), number(numbers[f"weight.{i}"], 3), number(numbers[f"prefers.{i}"], 3), *shares])
    losses = {name: numbers[f"loss.{name}"] for name in ("one", "two", "least")}
    return [
        "## A model of two annotators",
        TEXTS["two_components"].format(**losses, gain=preference_of(numbers, "gain") or "–"),
        grid(rows, ["component", "weight", "S ≻ L", *(f"share {name}" for name in LENGTH_BINS)]),
    ]


def _corpus_text(records: Mapping[str, Record]) -> str:
    record = records["tokenizer"]
    numbers = record.numbers
    lines = [
        f"Corpus: {record.texts['corpus'][0]}, {numbers['sentences']:,.0f} sentences, of which "
        + ", ".join(f"{numbers[f'sentences.{name}']:,.0f} {name}" for name in ("short", "medium", "long", "beyond"))
        + "."
    ]
    test = records["test-loss"].numbers if "test-loss" in records else {}
    for kind in models.KINDS:
        model = records[kind].numbers
        stop, loss, error = model["end_after_stop"], test.get(kind), test.get(f"{kind}.error")
        tested = "" if loss is None or error is None else (
            f", {with_error(loss, error)} on {test[f'{kind}.sentences']:,.0f} test sentences (standard error)"
        )  # fmt: skip
        lines.append(
            f"Model *{kind}*: {model['parameters']:,.0f} parameters, weights of step {model['best_step']:,.0f}, where "
            f"the held-out loss was least; it is {model['held_out_loss']:.3f} nats per piece there{tested}"
            + ("." if stop is None else f"; ends after a full stop at position 15 with probability {stop:.3f}.")
        )
    return "\n".join(f"- {line}" for line in lines)


def seeds_page(found: Mapping[int, Mapping[str, Record]], command: str) -> str:
    """Markdown with the table, and links to each seed's own page."""
    return "\n\n".join([
        "# Length bias and two annotators in language models, over trainings",
        f"Made by `{command}`.",
        "In brackets: Student's 95 % interval for the mean over trainings, on the text at hand.",
        grid(seed_rows(found), seed_headers(found)),
        "Pages: " + ", ".join(f"[seed {seed}](seed-{seed}/README.md)" for seed in found) + ".",
    ]) + "\n"  # fmt: skip
