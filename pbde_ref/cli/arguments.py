"""What the commands' options have in common."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from itertools import groupby
from textwrap import wrap
from typing import Any, NoReturn

from tabulate import tabulate

from pbde_ref.files import check_folder, check_writable
from pbde_ref.processes import Workers, process_pool

__all__ = [
    "Parser", "add_workers", "as_written", "between", "finite_or_none", "option_of", "output_path", "real", "short",
    "table", "whole", "words", "workers_of",
]  # fmt: skip

MOST_CHARACTERS = 300


class _Wrapped(argparse.HelpFormatter):
    """Paragraphs are filled; lines that are indented, such as examples, stay lines, and can be copied when broken."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return super()._split_lines(as_written(text), width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines, text = [], as_written(text)
        for kept, group in groupby(text.strip().splitlines(), lambda line: not line or line[0].isspace()):
            for line in group if kept else [" ".join(group)]:
                end = " \\\n" if "  pbde-ref" in line else "\n"
                parts = wrap(line, width - 2, subsequent_indent="      " * kept, break_on_hyphens=False)
                lines.append(end.join(parts))
        return "\n".join(lines)


def as_written(text: str) -> str:
    """As the terminal will show it: letters that it has not are spelt, and so are longer, before lines are filled."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "pbde_ref.spelt").decode(encoding)


class Parser(argparse.ArgumentParser):
    """Wrong usage gets one line that names it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Wrapped} | options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse to write over what is read, or to write two things to one file."""
        options, rest = super().parse_known_args(args, namespace)
        taken: dict[str, str] = {}
        for name, value in vars(options).items():
            for read in _files_read(value):
                taken.setdefault(os.path.realpath(read), "a file that is read")
            if isinstance(value, _OutputFile) and (os.path.isfile(value) or not os.path.exists(value)):
                taken.setdefault(os.path.realpath(value), f"what {option_of(name)} writes to")
        for name, value in vars(options).items():
            own = f"what {option_of(name)} writes to"
            if isinstance(value, _OutputFile) and taken.get(os.path.realpath(value), own) != own:
                self.error(f"argument {option_of(name)}: is {taken[os.path.realpath(value)]}: {value!r}")
        return options, rest

    def error(self, message: str) -> NoReturn:
        """Print the line to stderr and exit with status 2."""
        self.exit(2, short(f"{self.prog}: {message}") + "\n")


def short(message: str) -> str:
    """A message in at most 300 characters, on one line; what is left out is left out in the middle.

    Examples
    --------
    >>> len(short("x" * 1000))
    300
    """
    message = " ".join(message.split())
    return message if len(message) <= MOST_CHARACTERS else f"{message[:200]} ... {message[-95:]}"


def whole(least: int, most: int) -> Callable[[str], int]:
    """An option's type: a whole number from `least` to `most`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number; got {text!r}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}; got {value}")
        return value

    return convert


def real(text: str) -> float:
    """An option's type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number; got {text!r}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite; got {text!r}")
    return value


def add_workers(parser: argparse.ArgumentParser, default: int | None = 1, *names: str) -> None:
    """The options that say who does the work; `workers_of` reads them."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--workers", *names, dest="workers", metavar="N", type=whole(1, 1024), default=default,
                     help=f"processes here [{default or 'one a core'}]; results do not depend on it")  # fmt: skip
    who.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster instead, such as tcp://host:8786; its "
                     "workers must have this package, and reach the same files")  # fmt: skip


@contextmanager
def workers_of(options: argparse.Namespace, foreign: bool = False) -> Iterator[Workers]:
    """Who does the work; foreign code, which may end its process, is never called in this one."""
    if options.scheduler is None and foreign and options.workers == 1:
        with process_pool(1) as pool:
            try:
                yield pool
            except BrokenExecutor:
                raise ChildProcessError("a process ended while it computed a point") from None
        return
    if options.scheduler is None:
        yield options.workers
        return
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        raise ValueError("`--scheduler` needs the package distributed: pip install 'pbde-ref[dask]'") from None
    try:
        client = distributed.Client(options.scheduler)
    except (ValueError, OSError) as error:
        raise ValueError(f"`--scheduler` must be where a Dask scheduler listens: {error}") from None
    with client:
        yield client.get_executor()


def between(low: float, high: float, rule: str) -> Callable[[str], float]:
    """An option's type: a finite number strictly between two, in words `rule`."""

    def convert(text: str) -> float:
        if not low < (value := real(text)) < high:
            raise argparse.ArgumentTypeError(f"must be {rule}; got {text}")
        return value

    return convert


def words(known: Iterable[str], what: str) -> Callable[[str], list[str]]:
    """An option's type: some of the known words, with commas between them."""

    def convert(text: str) -> list[str]:
        names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        for name in names or [""]:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown {what} {name!r}" if name else f"names no {what}")
        return names

    return convert


def option_of(name: str) -> str:
    """How the command line spells a parameter.

    Examples
    --------
    >>> option_of("label_smoothing"), option_of("lambda_"), option_of("n_candidates")
    ('--label-smoothing', '--lambda', '--candidates')
    """
    return f"--{name.removeprefix('n_').strip('_').replace('_', '-')}"


class _OutputFile(str):
    """The name of a file that will be written to."""


def _files_read(value: Any) -> list[str]:
    """Existing files that an option's words name, as `module:function` names a module's."""
    words = [word for word in (value if isinstance(value, list | tuple) else [value]) if type(word) is str]
    modules = [f"{word.partition(':')[0].replace('.', os.sep)}.py" for word in words if ":" in word]
    return [name for name in (*words, *modules) if "\0" not in name and os.path.isfile(name)]


def output_path(*endings: str, folder: bool = False, pictures: bool = False) -> Callable[[str], str]:
    """An option's type: a file or a folder that can be written to, found out now and not after an hour's work.

    So is whether `pictures` can be drawn.
    """

    def convert(text: str) -> str:
        try:
            if pictures:
                importlib.import_module("matplotlib")
            check_folder(text) if folder else check_writable(text, endings)
        except OSError as error:
            raise argparse.ArgumentTypeError(f"cannot be written to: {error.strerror}: {text!r}") from None
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error!s:.200}") from None
        return text if folder else _OutputFile(text)

    return convert


def table(rows: list[list[Any]], headers: list[str], **options: Any) -> str:
    """Plain columns; what is a number has been formatted by the caller."""
    shown = [[as_written(cell) if isinstance(cell, str) else cell for cell in row] for row in [headers, *rows]]
    return tabulate(shown[1:], shown[0], tablefmt="simple", disable_numparse=True, **options)


def finite_or_none(value: float) -> float | None:
    """JSON has no word for infinities."""
    return value if math.isfinite(value) else None
