"""Estimate an implicit preference distribution from a file of comparisons."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from pbde_ref.cli.arguments import add_workers, between, output_path, whole, workers_of
from pbde_ref.cli.fit_report import (
    each_table,
    effect_table,
    item_table,
    model_table,
    models_record,
    record,
    summary,
    understood,
)  # fmt: skip
from pbde_ref.estimation.annotator_models import AnnotatorModels, compare_annotator_models
from pbde_ref.estimation.bootstrap import bootstrap_utilities
from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.examples import stigler_file
from pbde_ref.estimation.formats import FORMATS
from pbde_ref.estimation.likelihood import TIE_MODELS, fit_comparisons, fit_rankings
from pbde_ref.estimation.newton import DENSE_LIMIT
from pbde_ref.estimation.priors import GaussianPrior, Prior, PseudoCounts
from pbde_ref.estimation.processes import read_process
from pbde_ref.estimation.profile import profile_intervals
from pbde_ref.estimation.ranking import Ranking, ranking
from pbde_ref.estimation.reading import read_comparisons
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.estimation.sources import DataError
from pbde_ref.estimation.table import ComparisonTable
from pbde_ref.files import write_json
from pbde_ref.pbde import PBDE

__all__ = ["add_arguments", "run"]

MOST = 2**63 - 1
PICTURES = ("ranking", "wins", "calibration", "annotators")
POSITIVE, SHARE = between(0.0, math.inf, "positive and finite"), between(0.0, 1.0, "between 0 and 1")

DESCRIPTION = """\
Estimate the implicit preference distribution of an annotator from comparisons that were really made, with confidence
intervals. Exit status 1 if the fit did not converge.

examples:
  pbde-ref fit --example --reference Biometrika
  pbde-ref fit arena.jsonl --dry-run
  pbde-ref fit arena.jsonl --ties rao-kupper --cluster judge --elo
  pbde-ref fit season.csv --left HomeTeam --right AwayTeam --winner FTR --left-wins H --right-wins A --order
  pbde-ref fit pairs.jsonl.gz --chosen chosen --rejected rejected --prior pseudo:1 --plot pairs.png
  pbde-ref fit judged.tsv --left a --right b --winner won --annotator judge
"""
# No prior is something to be asked for.
UNSAID = object()
REMEDY = "keep the largest group (--incomparable drop), or add --prior pseudo:1"
ANY_PROCESS = (
    "every process f·log p + g fits these comparisons equally well, each with another p*; log-probabilities and "
    "lengths of the answers tell which it was: pbde-ref process"
)
DEFAULT_PRIOR = PseudoCounts(0.5)
# Items up to which what half wins do to utilities is shown by another fit.
MOST_COMPARED = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("files", metavar="FILE", nargs="*",
                        help='CSV, JSON, parquet or PrefLib, packed too; "-": stdin; or several with the same columns')
    parser.add_argument("--example", action="store_true", help="Stigler's citations between journals instead of a file")

    columns = parser.add_argument_group("columns")
    columns.add_argument("--left", metavar="COLUMN", help="one item")
    columns.add_argument("--right", metavar="COLUMN", help="the other item")
    columns.add_argument("--winner", metavar="COLUMN", help="who won: an item, a column's name, left, right or tie")
    columns.add_argument("--chosen", metavar="COLUMN", help="the winner, instead of the three")
    columns.add_argument("--rejected", metavar="COLUMN", help="the loser")
    for name, what in {
        "one-hot": "0 or 1 each: left, right and perhaps tie", "scores": "the higher one wins",
        "counts": "how often left and right won",
    }.items():  # fmt: skip
        columns.add_argument(f"--{name}", metavar="A,B", type=_list, help=f"instead of the winner: {what}")
    columns.add_argument("--probability", metavar="COLUMN", help="instead: that left is preferred")
    columns.add_argument("--margin", metavar="COLUMN", help="instead: a number, positive where left is preferred")
    columns.add_argument("--ranking", metavar="COLUMN", help="instead of all: a whole ranking, such as a > b = c")
    columns.add_argument("--prompt", metavar="COLUMN", help="what items answer; none: equal answers are one item")
    columns.add_argument("--cluster", metavar="COLUMN", help="whose rows may depend on each other, for errors")
    columns.add_argument("--covariate", metavar="COLUMN", action="append", default=[],
                         help="a number that speaks for left; its effect is estimated (may be repeated)")  # fmt: skip
    columns.add_argument("--weight", metavar="COLUMN", help="how often it happened [once]")
    columns.add_argument("--annotator", metavar="COLUMN", help="who compared; several models are then compared")

    reading = parser.add_argument_group("reading")
    reading.add_argument("--dry-run", action="store_true", help="only say what the columns are taken for")
    reading.add_argument("--ties", choices=("error", "drop", *TIE_MODELS),
                         help="what they count for [davidson; half with --annotator or --bootstrap]")  # fmt: skip
    # Lists such as -3,-2 are no options.
    parser._negative_number_matcher = re.compile(r"-\d[-\d.,]*$")
    for group in parser._action_groups:
        group._negative_number_matcher = parser._negative_number_matcher
    for name, what in {"left-wins": "left won", "right-wins": "right won", "tie-values": "nobody did"}.items():
        reading.add_argument(
            f"--{name}", metavar="A,B", type=_list, default=(), help=f"cells of the winner that mean that {what}"
        )
    reading.add_argument("--bad-lines", choices=("error", "skip"), default="error", help="lines that are no comparison")
    reading.add_argument("--format", choices=FORMATS, help="[by the file's ending]")
    reading.add_argument("--delimiter", metavar="C", type=_delimiter, help="of a CSV file [found by trying]")
    reading.add_argument("--no-quotes", action="store_true", help="quotation marks are letters like others")
    add_workers(parser)
    reading.add_argument("--encoding", help="[UTF-8, or by the byte order mark]")

    model = parser.add_argument_group("model")
    model.add_argument("--prior", type=_prior, metavar="PRIOR", default=UNSAID,
                       help="none, gaussian:SCALE or pseudo:COUNT [none; pseudo:0.5 with --annotator]")  # fmt: skip
    model.add_argument("--order", action="store_true", help="also estimate what standing on the left is worth")
    model.add_argument("--plackett-luce", action="store_true", help="rankings as such, not broken into pairs")
    model.add_argument("--incomparable", choices=("error", "drop", "separate"), default="error",
                       help="items without a finite estimate [%(default)s]")  # fmt: skip
    model.add_argument("--f", type=POSITIVE, metavar="F", default=1.0, help="of the process f·log p [1, the Luce rule]")
    model.add_argument("--pbde", metavar="FILE", help="CSV with columns item, f and g: the process f·log p + g")
    model.add_argument("--held-out", type=SHARE, metavar="SHARE", default=0.2,
                       help="of the comparisons, to compare models of several annotators on [0.2]")  # fmt: skip
    model.add_argument("--mixture", type=whole(1, MOST), metavar="K", default=2, help="annotators of the mixture [2]")
    model.add_argument("--seed", type=whole(0, MOST), default=0, help="of the split and of the mixture's start [0]")

    output = parser.add_argument_group("output")
    model.add_argument("--bootstrap", metavar="N", type=whole(1, MOST),
                       help="intervals from N drawn sets of comparisons, or clusters; ties half or drop")  # fmt: skip
    model.add_argument("--profile", action="store_true", help="intervals by profile likelihood, for few comparisons")
    output.add_argument("--reference", metavar="ITEM", help="whose utility is 0 [their mean]")
    output.add_argument("--level", type=SHARE, default=0.95, help="of the confidence intervals [0.95]")
    output.add_argument("--top", type=whole(0, MOST), metavar="N", default=20, help="items to show; 0 for all [20]")
    output.add_argument("--elo", action="store_true", help="400 points for odds of 10 to 1, the zero at 1000")
    output.add_argument("--json", metavar="PATH", type=output_path(), help="also write the results there")
    output.add_argument("--plot", metavar="PATH", type=output_path(".png", pictures=True),
                        help="also draw a picture, as PNG")  # fmt: skip
    output.add_argument("--picture", choices=PICTURES, default="ranking",
                        help="which: utilities with intervals and ranks; who beats whom; with --annotator how well "
                        "models are calibrated, or annotators side by side [ranking]")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Read, fit, print; 0 if the fit converged, else 1."""
    if bool(options.files) == options.example:
        raise ValueError("give either a FILE or --example")
    if options.picture in PICTURES[2:] and options.annotator is None:
        raise ValueError(f"`--picture {options.picture}` must come with --annotator")
    if options.pbde is not None and options.f != 1.0:
        raise ValueError("give either --f or --pbde")
    several = options.annotator is not None
    prior = options.prior if options.prior is not UNSAID else DEFAULT_PRIOR if several else None
    try:
        table = _read(options, several)
    except DataError as error:
        raise ValueError(error.note.spelled(command_line=True)) from None
    for note in table.notes:
        print(note.spelled(command_line=True), file=sys.stderr)
    if table.n_bad:
        print(f"{table.n_bad:,} lines skipped; the first:", *table.bad_lines, sep="\n  ", file=sys.stderr)
    if options.dry_run:
        print(understood(table, table.n_rows - len(table.sample)))
        print(f"{table.n_rows:,} rows, {table.n_ties:,} of them ties; {table.items.size:,} items")
        return 0
    ties = _tie_model(options, table)
    models = _models(table, options, prior) if several else None
    fit = _fit(table, options, prior, ties)
    most = options.top or fit.utilities.size
    # Other programs get all errors that one matrix gives.
    known = fit.utilities.size if (options.json or options.plot) and fit.utilities.size <= DENSE_LIMIT else most
    ranked = ranking(fit, options.level, _reference(fit, options.reference), known)
    if options.profile:
        ranked = _profiled(ranked, table, fit, options, most)
    if options.bootstrap:
        ranked = _bootstrapped(ranked, table, fit, options)
    drawn = f"bootstrap of {options.bootstrap:,} draws" if options.bootstrap else None
    intervals = "profile likelihood" if options.profile else drawn
    print(summary(fit, table, ties, _with_ties(table, fit, ties), intervals))
    if options.pbde is not None or options.f != 1.0 or (table.roles is not None and table.roles.answers):
        print(ANY_PROCESS, file=sys.stderr)
    if models is not None and table.annotators is not None:
        print(f"seed {options.seed}\n")
        print(model_table(models, table.annotators.size))
        if models.best == "each":
            print("\neach, from the rows that were not held out:\n")
            print(each_table(models, options.top or len(models.each)))
        print("\nall comparisons, pooled:")
    print()
    if fit.effects:
        print(effect_table(fit, options.level), end="\n\n")
    print(item_table(fit, ranked, most, options.elo))
    if options.json:
        result: dict[str, Any] = {"file": " ".join(options.files) or "example", **record(fit, table, ranked)}
        if models is not None:
            result["annotators"] = {"seed": options.seed, **models_record(models)}
        write_json(options.json, result)
    if options.plot:
        # Not before it is needed: Matplotlib takes longer to load than most files to fit.
        from pbde_ref.figures import ranking as figures

        shown = {"ranking": (fit, ranked), "wins": (fit,)}.get(options.picture, (models,))
        figures.save_ranking(getattr(figures, f"draw_{options.picture}")(*shown), options.plot)
    return 0 if fit.converged else 1


def _read(options: argparse.Namespace, several: bool) -> ComparisonTable:
    path: Any = options.files
    names = ("left", "right", "winner", "chosen", "rejected", "one_hot", "scores", "counts", "probability", "margin",
             "ranking", "prompt", "weight", "annotator", "cluster")  # fmt: skip
    columns = {name: getattr(options, name) for name in names}
    if options.example:
        path = [stigler_file()]
        columns |= {"chosen": "cited", "rejected": "citing", "weight": "citations"}
    known = path != ["-"] and all(map(os.path.isfile, path))
    size = sum(map(os.path.getsize, path)) if known else None
    halves = options.ties == "half" or (options.ties is None and several)
    ties = options.ties if options.ties in ("error", "drop") else "half" if halves else "keep"
    progress = tqdm(total=size, desc="read", unit="B", unit_scale=True, disable=None, leave=False)
    with workers_of(options) as executor, progress as bar:
        return read_comparisons(
            path, **columns, covariates=options.covariate, sides=options.order, ties=ties,
            left_wins=options.left_wins, right_wins=options.right_wins, tie_values=options.tie_values,
            bad_lines=options.bad_lines, held_out=options.held_out if several else 0.0, rng=options.seed,
            form=options.format, delimiter=options.delimiter, quotes=not options.no_quotes, encoding=options.encoding,
            progress=lambda done: bar.update(done - bar.n), executor=executor,
        )  # fmt: skip


def _tie_model(options: argparse.Namespace, table: ComparisonTable) -> str:
    """What ties count for: as asked, else what tells most."""
    if options.plackett_luce:
        return "last"
    if options.ties is not None:
        return str(options.ties)
    many = table.items.size >= DENSE_LIMIT
    half = options.annotator is not None or table.rankings or options.bootstrap or many
    return "half" if half else "davidson"


def _profiled(
    ranked: Ranking, table: ComparisonTable, fit: ComparisonFit, options: argparse.Namespace, most: int
) -> Ranking:
    """Intervals of the items that are shown by profile likelihood."""
    if fit.effects or fit.dropped or options.plackett_luce or options.bootstrap or fit.error_kind != "fisher":
        raise ValueError("`--profile` must come without ties, effects, clusters, dropped items and --bootstrap")
    shown, intervals = ranked.order[:most], ranked.intervals.copy()
    intervals[: shown.size] = profile_intervals(
        table, level=ranked.level, items=shown, relative_to=_reference(fit, options.reference), prior=fit.prior
    )
    return replace(ranked, intervals=intervals)


def _bootstrapped(
    ranked: Ranking, table: ComparisonTable, fit: ComparisonFit, options: argparse.Namespace
) -> Ranking:
    """Intervals between quantiles of fits to comparisons drawn again."""
    if fit.effects or fit.dropped or options.plackett_luce:
        raise ValueError("`--bootstrap` must come without effects, ties by a model and dropped items")
    drawn = bootstrap_utilities(table, prior=fit.prior, draws=options.bootstrap, rng=options.seed)
    lost = int(np.isnan(drawn[:, 0]).sum())
    if lost:
        print(f"{lost:,} of {options.bootstrap:,} drawn sets have no finite estimate and are left out", file=sys.stderr)
    if lost == options.bootstrap:
        raise ValueError("no drawn set of comparisons has a finite estimate; add --prior pseudo:1")
    reference = _reference(fit, options.reference)
    zero = drawn.mean(axis=1) if reference is None else drawn[:, reference]
    drawn = (drawn - zero[:, None])[~np.isnan(drawn[:, 0])][:, ranked.order]
    tails = [0.5 * (1.0 - ranked.level), 0.5 * (1.0 + ranked.level)]
    return replace(ranked, errors=drawn.std(axis=0), intervals=np.quantile(drawn, tails, axis=0).T)


def _with_ties(table: ComparisonTable, fit: ComparisonFit, ties: str) -> ComparisonFit | None:
    """The fit in which a tie is no half win, where ties count half and it takes no time."""
    if ties != "half" or not table.n_ties or fit.utilities.size > MOST_COMPARED or fit.dropped:
        return None
    try:
        return fit_comparisons(table, tie_model="davidson", prior=fit.prior, incomparable="separate")
    except ValueError:
        return None


def _fit(table: ComparisonTable, options: argparse.Namespace, prior: Prior | None, ties: str) -> ComparisonFit:
    process = PBDE(options.f) if options.pbde is None else read_process(options.pbde, table.items)
    try:
        if options.plackett_luce:
            if not table.rankings:
                raise ValueError("`--plackett-luce` must come with rankings; got comparisons")
            return fit_rankings(table.rankings, table.items, prior=prior)
        return fit_comparisons(
            table, tie_model=ties if ties in TIE_MODELS else "half", pbde=process, prior=prior,
            incomparable=options.incomparable,
        )  # fmt: skip
    except NoFiniteEstimateError as error:
        roles = table.roles
        if roles is not None and roles.answers and prior is None:
            raise ValueError(
                f"an answer belongs to its prompt, and {table.items.size:,} answers in {table.n_rows:,} rows met too "
                "few others for a finite estimate; --prompt none makes one item of equal answers, and --prior pseudo:1 "
                "estimates each nevertheless"
            ) from None
        raise ValueError(f"{error.problem}; {REMEDY}") from None


def _models(table: ComparisonTable, options: argparse.Namespace, prior: Prior | None) -> AnnotatorModels:
    if prior is None:
        raise ValueError("`--prior` must not be none with --annotator: hardly anyone compares enough to do without")
    with tqdm(desc="models", bar_format="{desc}: {postfix}", disable=None, leave=False) as bar:
        return compare_annotator_models(
            table, prior=prior, n_mixture=options.mixture, rng=options.seed, callback=bar.set_postfix_str
        )


def _reference(fit: ComparisonFit, name: str | None) -> int | None:
    if name is None:
        return None
    found = np.flatnonzero(fit.distribution.support == name.strip())
    if not found.size:
        gone = " (it was left out for having no finite estimate)" if name in fit.dropped else ""
        raise ValueError(f"`--reference` must be an item of the file; got {name!r}{gone}")
    return int(found[0])


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _delimiter(text: str) -> str:
    text = {"tab": "\t", r"\t": "\t"}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"must be one character, or tab; got {text!r}")
    return text


def _prior(text: str) -> Prior | None:
    kind, _, size = text.partition(":")
    makers: dict[str, Callable[[float], Prior]] = {"gaussian": GaussianPrior, "pseudo": PseudoCounts}
    if text == "none":
        return None
    if kind not in makers or not size:
        raise argparse.ArgumentTypeError(f"must be none, gaussian:SCALE or pseudo:COUNT; got {text!r}")
    try:
        return makers[kind](POSITIVE(size))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
