r"""Reading comparisons from files of any length: first the header, then what its columns are for, then the rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pbde_ref.estimation.assembly import Assembler, Rules
from pbde_ref.estimation.formats import FORMATS, Header, Style, open_table
from pbde_ref.estimation.layouts import OUTCOMES, Columns, Roles, roles_of
from pbde_ref.estimation.outcomes import Words
from pbde_ref.estimation.sources import DataError, Limits
from pbde_ref.estimation.table import ComparisonTable, held_out_share
from pbde_ref.processes import Workers, in_order
from pbde_ref.validation import choice, function_or_none, generator_of, instance, shown

__all__ = ["read_comparisons"]

TIES = ("error", "half", "drop", "keep")


def read_comparisons(
    path: Any, *, left: str | None = None, right: str | None = None, winner: str | None = None,
    chosen: str | None = None, rejected: str | None = None, one_hot: Sequence[str] | None = None,
    scores: Sequence[str] | None = None, counts: Sequence[str] | None = None, probability: str | None = None,
    margin: str | None = None, ranking: str | None = None, prompt: str | None = None, weight: str | None = None,
    annotator: str | None = None, cluster: str | None = None, covariates: Sequence[str] = (), sides: bool = False,
    ties: str = "error", left_wins: Sequence[str] = (), right_wins: Sequence[str] = (),
    tie_values: Sequence[str] = (), bad_lines: str = "error", held_out: float = 0.0, rng: Any = None,
    form: str | None = None, delimiter: str | None = None, quotes: bool = True, encoding: str | None = None,
    limits: Limits | None = None, progress: Callable[[int], object] | None = None, executor: Workers = 1,
) -> ComparisonTable:  # fmt: skip
    r"""Read comparisons from a file and add up equal ones, chunk by chunk.

    Memory is bounded by a chunk of 4,096 rows and the *different* comparisons of the file, not by its length.

    Parameters
    ----------
    path : str, path, DataFrame or list of paths
        CSV, TSV, JSON (an array, or objects one a line), parquet or PrefLib; gzip, bz2, xz and zst are recognised. "-"
        reads standard input. Or a table of pandas or polars. Files of a list must have the same columns. Parquet needs
        pyarrow and zst needs zstandard, which ``pip install 'pbde-ref[files]'`` brings.
    left, right, winner : str, optional
        Names of the columns with the two items and with who won. The winner's cell holds the item's own name, or the
        name of its column, or "left"/"right" or "a"/"b"; a tie is "tie", "draw", "both" or "equal". That both were bad
        is no comparison, unless `tie_values` has it.
    chosen, rejected : str, optional
        Names of the columns with the winner and the loser, instead. Where nothing is named, the columns' names are
        looked up in a table of well-known layouts.
    one_hot, scores, counts, probability, margin, ranking : str or sequence of str, optional
        Columns that say who won, instead of `winner`: two or three of 0 and 1 (left, right, tie); two scores, of which
        the higher wins; two numbers of wins; the probability that the left item is preferred; a number whose sign says
        it; a whole ranking, instead of `left` and `right`, which is broken into pairs.
    prompt : str, optional
        Column of what the items answer: equal answers to different prompts are then different items. "none" makes one
        item of them also where the layout has prompts.
    weight : str, optional
        Column of how often a comparison happened: a non-negative number.
    annotator : str, optional
        Column of who made it.
    cluster : str, optional
        Column whose equal entries mark comparisons that may depend on each other.
    covariates : sequence of str
        Columns of numbers that speak for the left item.
    sides : bool
        Whether to keep who stood on the left.
    ties : {"error", "half", "drop", "keep"}
        "half" counts a tie as half a win of either side, "keep" leaves it to the model.
    left_wins, right_wins, tie_values : sequence of str
        What the winner's cell says, where it is none of the above. Values given here are looked at first. Once it is
        said what one side's cells say, only such values count.
    bad_lines : {"error", "skip"}
        Whether a line that is no comparison ends the reading, or is left out and counted.
    held_out : float
        Share of the rows, drawn at random, to mark as held out; in [0, 1).
    rng : numpy.random.Generator or seed, optional
        For `held_out`.
    form : {"csv", "tsv", "jsonl", "parquet", "preflib"}, optional
        Default: by the file's first bytes and its ending; CSV if they say nothing.
    delimiter : str, optional
        Default: comma, semicolon or tab, whichever yields the columns.
    quotes : bool
        False if quotation marks are letters like others.
    encoding : str, optional
        Default: by the byte order mark; UTF-8 without one.
    limits : Limits, optional
        Of `pbde_ref.estimation.sources`: how long a line (16 MiB) and the file (64 GiB) may be after decompression. A
        cell of a CSV file may have 131,072 characters (`csv.field_size_limit`).
    progress : callable, optional
        Called after each chunk, or each file of several, with the number of bytes read so far, as they are on disk.
    executor : int or concurrent.futures.Executor
        Who reads several files: so many processes of this machine, 1 being this process, or an executor whose workers
        reach them. Files are added up in the order in which they are named, so the sums do not depend on it.

    Raises
    ------
    DataError
        If the file does not hold what it should; the message names the line and says why.
    OSError
        If it cannot be read.

    Notes
    -----
    Labels are text, without surrounding space and in Unicode's composed form. Blank lines and other columns do not
    matter. A quotation mark that is never closed is always an error, for the rest of the file would vanish with it.

    Examples
    --------
    >>> from pbde_ref.estimation import fit_comparisons, read_comparisons, stigler_file
    >>> table = read_comparisons(stigler_file(), chosen="cited", rejected="citing", weight="citations")
    >>> fit = fit_comparisons(table.winner, table.loser, table.weights, support=table.items)
    >>> fit.distribution.support[fit.utilities.argmax()]
    np.str_('JRSS-B')
    """
    choice("ties", ties, TIES)
    choice("bad_lines", bad_lines, ("error", "skip"))
    share = held_out_share(held_out)
    if form is not None:
        choice("form", form, FORMATS)
    single = {"left": left, "right": right, "chosen": chosen, "rejected": rejected, "winner": winner, "margin": margin,
              "probability": probability, "ranking": ranking, "prompt": prompt, "weight": weight, "cluster": cluster,
              "annotator": annotator, "delimiter": delimiter, "encoding": encoding}  # fmt: skip
    for name, word in single.items():
        if word is not None:
            instance(name, word, str, "a word")
            if not word:
                raise ValueError(f"`{name}` must have a letter; got ''")
    if delimiter is not None and len(delimiter) != 1:
        raise ValueError(f"`delimiter` must be one character; got {delimiter!r:.100}")
    said = {"winner": winner, "one_hot": one_hot, "scores": scores, "counts": counts, "probability": probability,
            "margin": margin, "ranking": ranking}  # fmt: skip
    items = {"left": left, "right": right, "chosen": chosen, "rejected": rejected}
    outcome, says = _outcome(said, items)
    named = {name: column for name, column in items.items() if column is not None}
    given = Columns(named, outcome, says, prompt, weight, annotator, cluster, _words("covariates", covariates))
    rules = Rules(ties, bad_lines == "skip", share, sides)
    if limits is not None:
        instance("limits", limits, Limits, "Limits")
    style = Style(form, delimiter, quotes, encoding, limits)
    function_or_none("progress", progress)
    values = {"left_wins": left_wins, "right_wins": right_wins, "tie_values": tie_values}
    words = tuple(_words(name, value) for name, value in values.items())
    parts = list(path) if isinstance(path, list | tuple) else [path]
    if len(parts) == 1:
        return _assembled(parts[0], style, given, words, rules, generator_of(rng), progress).result()
    if not parts:
        raise ValueError("`path` must name at least one file; got none")
    generators = generator_of(rng).spawn(len(parts))
    calls = [(_assembled, (part, style, given, words, rules, own)) for part, own in zip(parts, generators, strict=True)]
    whole: Assembler | None = None
    read = 0
    for part, assembler in zip(parts, in_order(calls, executor), strict=True):
        whole = whole or assembler
        if assembler is not whole:
            whole.join(assembler)
        if progress is not None:
            read += os.path.getsize(part)
            progress(read)
    assert whole is not None
    return whole.result()


def _assembled(
    path: Any, style: Style, given: Columns, words: tuple[Sequence[str], ...], rules: Rules,
    rng: np.random.Generator, progress: Callable[[int], object] | None = None,
) -> Assembler:  # fmt: skip
    """What one file holds."""
    with open_table(path, style) as table:
        number, roles = _first_that_fits(table.name, table.headers, given)
        rules = replace(rules, decimal_comma=table.headers[number].delimiter == ";")
        assembler = Assembler(table.name, roles, Words(roles, *words), rules, rng)
        truths = roles.says if roles.outcome in ("winner", "one_hot") else ()
        for chunk in table.chunks(number, roles.columns, truths):
            assembler.add(chunk)
            if progress is not None and table.text is not None and table.text.raw.seekable():
                progress(table.text.raw.tell())
        return assembler


def _words(name: str, value: Any) -> tuple[str, ...]:
    """One word, or several."""
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, (Sequence, np.ndarray)) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"`{name}` must be words; got {shown(value)}")
    if not all(words):
        raise ValueError(f"`{name}` must be words with a letter; got {shown(list(words))}")
    return tuple(words)


def _outcome(
    said: Mapping[str, str | Sequence[str] | None], items: Mapping[str, str | None]
) -> tuple[str, tuple[str, ...]]:
    """How the caller's columns say who won, and which ones do."""
    named = [name for name, columns in said.items() if columns is not None]
    sides = {name for name, column in items.items() if column is not None}
    if len(named) > 1 or (sides & {"chosen", "rejected"} and (named or sides & {"left", "right"})):
        got = ", ".join(sorted([*sides, *named]))
        ways = f"`left`, `right` and one of {', '.join(said)}; or `chosen` and `rejected`"
        raise ValueError(f"columns must be {ways}; got {got}")
    if not named:
        return "chosen" if sides & {"chosen", "rejected"} else "", ()
    says = _words(named[0], said[named[0]])
    least, most = OUTCOMES[named[0]]
    if not least <= len(says) <= most:
        raise ValueError(f"`{named[0]}` must name {least} to {most} columns; got {len(says)}")
    return named[0], says


def _first_that_fits(file: str, headers: Sequence[Header], given: Columns) -> tuple[int, Roles]:
    """The first way of reading the header in which all columns exist, and what they are for."""
    failure: DataError | None = None
    for number, header in enumerate(headers):
        try:
            return number, roles_of(file, header.names, given)
        except DataError as error:
            failure = failure or error
    assert failure is not None
    raise failure
