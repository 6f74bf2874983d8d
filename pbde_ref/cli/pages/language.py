"""What the experiments with language models found, as a page."""

from __future__ import annotations

from collections.abc import Mapping

from tabulate import tabulate

from pbde_ref.cli.arguments import table
from pbde_ref.exact.lengths.length_bias import GROUP_PAIRS, LENGTH_BINS
from pbde_ref.experiments.intervals import Interval
from pbde_ref.experiments.language import models, positions, published
from pbde_ref.experiments.language.findings import bin_share, findings, preference_of, with_error
from pbde_ref.experiments.language.seeds import seed_headers, seed_rows
from pbde_ref.experiments.records import Record

__all__ = [
    "findings_text", "has_figure_6", "language_page", "language_summary", "length_rows", "position_rows", "seeds_page",
    "table_2_rows",
]  # fmt: skip

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


def _grid(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def language_page(records: Mapping[str, Record], command: str, image: str) -> str:
    """Markdown with the findings, Table 2, Fig. 6, and sentences; of those that there are records of."""
    parts = ["# Length bias and two annotators in language models", f"Made by `{command}`."]
    if "tokenizer" in records:
        parts.append(_corpus_text(records))
    parts.append(
        "In brackets: 95 % intervals. They are about the sentences drawn from these very models, and say nothing about "
        "models trained with another seed."
    )
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
        [kind, RULE_NAMES[rule], pair, f"{printed:.4f}", "–" if ours is None else str(ours), said]
        for kind, rule, pair, printed, ours, said in compared
    ]
    counts = {said: sum(entry[-1] == said for entry in compared) for said in dict.fromkeys(e[-1] for e in compared)}
    return [
        "## Table 2",
        "Probability that the annotator prefers a sentence of the first bin to one of the second; S up to 20 pieces, M "
        "21 to 29, L 30 to 50, drawn from *whole*. Without the end: of a sentence of l pieces the first l − 1 are "
        "scored, and Eq. 26 divides by l − 1; without the last two, mostly a full stop and the end, l − 2.",
        _grid(table_2_rows(records), ["annotator", "rule", *_COLUMNS]),
        "Beside the print. *Shown*: on the printed side of ½ and at least half as far from it; *weak*: nearer to ½; "
        "*undecided*: the interval holds ½. Of 18 entries "
        + ", ".join(f"{count} {said}" for said, count in counts.items())
        + f". The three annotators stand in the printed order in {published.orders_as_printed(records)} of 6 columns.",
        _grid(beside, ["annotator", "rule", "preference", "printed", "here", "verdict"]),
        "## What a piece costs",
        "Mean nats that *whole* gives the pieces of these sentences at each position.",
        _grid(position_rows(records), ["position", *LENGTH_BINS]),
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
        "Lengths in pieces, the end piece counted, of sentences drawn from each model. Left: the three models; *long* "
        "was trained from 31 pieces on. Right: *whole* before and after it was adapted to half of the answers from "
        "*short* and half from *long* (27), and to answers of their mean density (28). All are trained, none is exact. "
        "Grey: medium lengths.",
        _grid(length_rows(records), ["sentences from", *shares, "without end"]),
        "The same in the authors' notebook, read off its stored histograms:",
        _grid(drawn, ["sentences from", *shares]),
        "By Theorem 2 the optimum for (28) is the mean of *short* and *long*. The lengths of what was adapted are "
        f"{distance:.2f} from those in total variation ({chance:.2f} would be chance); in the notebook "
        f"{published.NOTEBOOK_FROM_THEOREM_2:.2f}.",
    ]


def _two_components(record: Record) -> list[str]:
    numbers = record.numbers
    rows = [
        [
            str(i),
            _nats(numbers[f"weight.{i}"]),
            _nats(numbers[f"prefers.{i}"]),
            *(str(bin_share(record.arrays[f"length_counts.{i}"], which)) for which in LENGTH_BINS),
        ]
        for i in (1, 2)
    ]
    gain = str(Interval(*(numbers[f"gain{end}"] or 0.0 for end in ("", ".low", ".high"))))
    return [
        "## A model of two annotators",
        "Section 5.1 says that the model of appendix A.4, two components without annotators' names, failed at this "
        "scale. Here two copies of *whole* with noise of 1e-4, and the logits of their weights, are adapted to the "
        "answers of (27) in one pass. In nats per answer, each before it was trained on, over the last quarter: one "
        f"component {_nats(numbers['loss.one'])}, two {_nats(numbers['loss.two'])} (gain {gain}), the annotators "
        f"themselves {_nats(numbers['loss.least'])}.",
        _grid(rows, ["component", "weight", "S ≻ L", *(f"share {name}" for name in LENGTH_BINS)]),
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
        _grid(seed_rows(found), seed_headers(found)),
        "Pages: " + ", ".join(f"[seed {seed}](seed-{seed}/README.md)" for seed in found) + ".",
    ]) + "\n"  # fmt: skip
