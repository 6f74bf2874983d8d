"""What the experiments with language models found, as a page."""

from __future__ import annotations

from collections.abc import Mapping

from tabulate import tabulate

from pbde_ref.exact.lengths.length_bias import GROUP_PAIRS, LENGTH_BINS
from pbde_ref.experiments.language import models, positions
from pbde_ref.experiments.language.findings import bin_share, findings, preference_of, with_error
from pbde_ref.experiments.language.seeds import seed_headers, seed_rows
from pbde_ref.experiments.records import Record

__all__ = ["findings_text", "language_page", "length_rows", "position_rows", "seeds_page", "table_2_rows"]

RULE_NAMES = {
    "luce": "Eq. 9",
    "scale 1": "Eq. 26, c = 1",
    "scale 50": "Eq. 26, c = 50",
    "luce without end": "Eq. 9 without the end",
    "scale 50 without end": "Eq. 26, c = 50 without the end",
    "scale 50 without last two": "Eq. 26, c = 50 without the last two",
}
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
        for rule, name in RULE_NAMES.items():
            found = [preference_of(numbers, f"{kind}.{rule}.{first}>{second}") for first, second in GROUP_PAIRS]
            rows.append([kind, name, *("–" if entry is None else str(entry) for entry in found)])
    return rows


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
        [label, *(_nats(numbers[f"{kind}.{letter}.{name}"]) for letter in LENGTH_BINS)]
        for label, name in zip(shown, named, strict=True)
    ]


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def findings_text(records: Mapping[str, Record]) -> list[str]:
    """A paragraph for each finding."""
    return [
        f"{'Shown' if finding.shown else 'Not shown'}: {finding.statement}. {finding.measured}."
        for finding in findings(records)
    ]


def language_page(records: Mapping[str, Record], command: str, image: str) -> str:
    """Markdown with the findings, Table 2, Fig. 6, and sentences."""
    parts = ["# Length bias and two annotators in language models", f"Made by `{command}`."]
    if "tokenizer" in records:
        parts.append(_corpus_text(records))
    parts.append(
        "In brackets: 95 % intervals. They are about the sentences drawn from these very models, and say nothing about "
        "models trained with another seed."
    )
    parts += ["## Findings", "\n".join(f"- {text}" for text in findings_text(records))]
    parts += [
        "## Table 2",
        "Probability that the annotator prefers a sentence of the first bin to one of the second; S up to 20 pieces, M "
        "21 to 29, L 30 to 50, drawn from *whole*. Without the end: of a sentence of l pieces the first l − 1 are "
        "scored, and Eq. 26 divides by l − 1; without the last two, mostly a full stop and the end, l − 2.",
        tabulate(
            table_2_rows(records),
            ["annotator", "rule", *(f"{first} ≻ {second}" for first, second in GROUP_PAIRS)],
            tablefmt="github",
            disable_numparse=True,
        ),
        "## What a piece costs",
        "Mean nats that *whole* gives the pieces of these sentences at each position.",
        tabulate(
            position_rows(records), ["position", *LENGTH_BINS], tablefmt="github", disable_numparse=True
        ),
        "## Figure 6",
        f"![figure-6]({image})",
        tabulate(
            length_rows(records),
            ["sentences from", *(f"share {name}" for name in LENGTH_BINS), "without end"],
            tablefmt="github",
            disable_numparse=True,
        ),
        "## Sentences",
    ]
    for name, shown in SAMPLE_NAMES.items():
        parts += [f"*{shown}*", "\n".join(f"- {text}" for text in records[name].texts["sentences"])]
    return "\n\n".join(parts) + "\n"


def _corpus_text(records: Mapping[str, Record]) -> str:
    record = records["tokenizer"]
    numbers = record.numbers
    lines = [
        f"Corpus: {record.texts['corpus'][0]}, {numbers['sentences']:,.0f} sentences, of which "
        + ", ".join(f"{numbers[f'sentences.{name}']:,.0f} {name}" for name in ("short", "medium", "long", "beyond"))
        + "."
    ]
    test = records["test-loss"].numbers
    for kind in models.KINDS:
        model = records[kind].numbers
        stop, loss, error = model["end_after_stop"], test[kind], test[f"{kind}.error"]
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
        tabulate(seed_rows(found), seed_headers(found), tablefmt="github", disable_numparse=True),
        "Pages: " + ", ".join(f"[seed {seed}](seed-{seed}/README.md)" for seed in found) + ".",
    ]) + "\n"  # fmt: skip
