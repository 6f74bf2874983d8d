"""The command line: one module per command, which parses, calls and prints.

Results go to stdout, progress and errors to stderr. Exit status: 0 all well, 1 a check failed, 2 wrong usage,
130 interrupted, 141 if the reader of stdout or stderr went away.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import importlib
import os
import signal
import sys
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

__all__ = ["main"]

COMMANDS = {
    "verify": ("pbde_ref.cli.verify", "Check every theorem and closed form."),
    "optima": ("pbde_ref.cli.optima", "Print what each loss learns on the paper's problem."),
    "docket": ("pbde_ref.cli.docket", "Settle what has been published about learning from preferences."),
    "reproduce": ("pbde_ref.cli.reproduce", "Train the paper's experiments again, exact optima beside each."),
    "sweep": ("pbde_ref.cli.sweep", "Run an experiment over a grid of settings."),
    "fit": ("pbde_ref.cli.fit", "Estimate an implicit preference distribution from a file of comparisons."),
    "process": ("pbde_ref.cli.process", "Find the preference process that comparisons of texts follow."),
    "check": ("pbde_ref.cli.check", "Hold a loss function against its definition."),
    "check-fitter": ("pbde_ref.cli.check_fitter", "Hold a fitter of comparisons against the certified optimum."),
    "comparisons": ("pbde_ref.cli.comparisons", "Say how many comparisons a policy needs, or what so many are worth."),
    "design": ("pbde_ref.cli.design", "Find the pairs to compare, and what no choice of pairs can beat."),
    "explore": ("pbde_ref.cli.explore", "Show on a page of your own what a loss learns from whom."),
    "vectors": ("pbde_ref.cli.vectors", "Write test vectors for implementations in other languages."),
    "bench": ("pbde_ref.cli.bench", "Measure what losses, samplers and fits cost."),
    "list": ("pbde_ref.cli.listing", "Say which claims and losses there are."),
}
"""The module of each command, which is imported if the command is given, and what it does."""

_SIGNS = {"–": "-", "−": "-", "…": "...", "·": "*", "×": "x", "±": "+-", "²": "^2", "√": "root ", "µ": "u"}
_GREEK = {c: unicodedata.name(c).split()[-1].lower().replace("mda", "mbda") for c in "αβγδεκλμνπρστχψω"}
SPELT = str.maketrans(_GREEK | _SIGNS)
"""How letters are spelt that a terminal may not have."""

EXTRAS = {"autograd": "figures", "matplotlib": "figures", "msgpack": "language", "sentencepiece": "language"}
"""What may be missing, and what to install."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the process's own.

    Returns
    -------
    int
        The exit status.
    """
    try:
        _open_streams()
        # The commands import most of the package, which takes long enough to be interrupted.
        arguments = sys.argv[1:] if arguments is None else list(arguments)
        if "_ARGCOMPLETE" in os.environ:
            _complete(os.environ.get("COMP_LINE", ""))
        options = _parser(arguments).parse_args(arguments)
        return _run(options)
    except ImportError as error:
        if error.name not in EXTRAS:
            raise
        print(f"pbde-ref needs {error.name} here: pip install 'pbde-ref[{EXTRAS[error.name]}]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # Whoever presses Ctrl-C once more wants the same.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("interrupted", file=sys.stderr)
        return 130


def _complete(line: str) -> None:
    """Tell the shell what may follow in `line`, and end the process, if argcomplete is installed."""
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(_parser(line.split()))


def _run(options: Any) -> int:
    from pbde_ref.cli.arguments import short

    try:
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader, `head` for instance, has seen enough.
        _give_up_stdout()
        return 141
    except (TypeError, ValueError, OSError, ArithmeticError, MemoryError, RecursionError) as error:
        said = str(error) or type(error).__name__
        if isinstance(error, MemoryError):
            said = "what is asked for does not fit into memory"
        elif isinstance(error, ArithmeticError):
            said = f"what is asked for leads out of the range of float64: {said}"
        print(short(f"pbde-ref {options.command}: {said}"), file=sys.stderr)
        try:
            sys.stdout.flush()
        except (OSError, ValueError):  # gone, or closed by a function that was called
            _give_up_stdout()
        return 2


def _open_streams() -> None:
    """Streams that are closed lead nowhere; letters that one has no place for are spelt."""
    # Before any other file takes the number of a closed one.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
            atexit.register(getattr(sys, name).close)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="pbde_ref.spelt")


def _spelt(error: Any) -> tuple[str, int]:
    """What stands for letters that a terminal has not: names of Greek ones, signs much like them, or escapes."""
    text = error.object[error.start : error.end].translate(SPELT)
    return text.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("pbde_ref.spelt", _spelt)


def _give_up_stdout() -> None:
    """Nothing more may be written to it, not even at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(arguments: Sequence[str]) -> Any:
    from pbde_ref.cli.arguments import Parser

    parser = Parser(prog="pbde-ref", description="Exact referee for learning from pairwise preferences.")
    parser.add_argument("--version", action="version", version=f"pbde-ref {version('pbde-ref')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (module, summary) in COMMANDS.items():
        helped = summary[0].lower() + summary[1:].rstrip(".")
        subparser = commands.add_parser(name, help=helped, description=summary)
        if name in arguments:
            command = importlib.import_module(module)
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    return parser
