"""All runs of the experiments with language models, and the page that shows what they found."""

from __future__ import annotations

from collections.abc import Mapping

from tabulate import tabulate

from pbde_ref.experiments.language import figure_6, models, sentences, table_2
from pbde_ref.experiments.language.findings import bin_share, findings, with_error
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Run
from pbde_ref.language.length_bias import GROUP_PAIRS, LENGTH_BINS

__all__ = ["findings_text", "language_page", "length_rows", "runs", "table_2_rows"]

RULE_NAMES = {"luce": "Eq. 9", "scale 1": "Eq. 26, c = 1", "scale 50": "Eq. 26, c = 50"}
SAMPLE_NAMES = {
    "pairs": "whole",
    "samples-short": "short",
    "samples-long": "long",
    "annotator-mixture": "annotator mixture (27)",
    "density-mixture": "density mixture (28)",
}


def runs(place: Workplace) -> list[Run]:
    """Everything, in the order of need."""
    return [*models.runs(place), *sentences.runs(place), *table_2.runs(place), *figure_6.runs(place)]


def table_2_rows(records: Mapping[str, Record]) -> list[list[str]]:
    """A line for each annotator and rule: preferences with their standard errors."""
    numbers = records["table-2"].numbers
    rows = []
    for kind in models.KINDS:
        for rule, name in RULE_NAMES.items():
            cells = []
            for first, second in GROUP_PAIRS:
                value, error = (numbers[f"{kind}.{rule}.{first}>{second}{end}"] for end in ("", ".error"))
                cells.append("–" if value is None or error is None else with_error(value, error))
            rows.append([kind, name, *cells])
    return rows


def length_rows(records: Mapping[str, Record]) -> list[list[str]]:
    """A line for each model that sentences were drawn from: shares of short, medium and long ones, and without end."""
    rows = []
    for name, shown in SAMPLE_NAMES.items():
        record = records[name]
        shares = [bin_share(record.arrays["length_counts"], which) for which in LENGTH_BINS]
        without_end = record.numbers["without_end"]
        rows.append([shown, *(with_error(share, error) for share, error in shares), f"{without_end:.3f}"])
    return rows


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
    parts += ["## Findings", "\n".join(f"- {text}" for text in findings_text(records))]
    parts += [
        "## Table 2",
        "Probability that the annotator prefers a sentence of the first bin to one of the second, with standard "
        "errors; S up to 20 pieces, M 21 to 29, L 30 to 50, drawn from *whole*.",
        tabulate(
            table_2_rows(records),
            ["annotator", "rule", *(f"{first} ≻ {second}" for first, second in GROUP_PAIRS)],
            tablefmt="github",
            disable_numparse=True,
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
    for kind in models.KINDS:
        model = records[kind].numbers
        stop = model["end_after_stop"]
        lines.append(
            f"Model *{kind}*: {model['parameters']:,.0f} parameters, held-out loss {model['held_out_loss']:.3f} nats "
            f"per piece at step {model['best_step']:,.0f}"
            + ("." if stop is None else f"; ends after a full stop at position 15 with probability {stop:.3f}.")
        )
    return "\n".join(f"- {line}" for line in lines)
