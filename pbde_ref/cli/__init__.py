"""The command line: one module per command, which parses, calls and prints.

Results go to stdout, progress and errors to stderr. Exit status: 0 all well, 1 a check failed, 2 wrong usage,
130 interrupted, 141 if the reader of stdout went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from pbde_ref.cli import bench, check, fit, listing, optima, reproduce, verify
from pbde_ref.cli.arguments import Parser
from pbde_ref.oracle import vectors

__all__ = ["main"]

COMMANDS = {
    "verify": verify,
    "optima": optima,
    "reproduce": reproduce,
    "fit": fit,
    "check": check,
    "vectors": vectors,
    "bench": bench,
    "list": listing,
}


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
    options = _parser().parse_args(arguments)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader, `head` for instance, has seen enough; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (TypeError, ValueError, OSError) as error:
        print(f"pbde-ref {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> Parser:
    parser = Parser(prog="pbde-ref", description="Exact referee for learning from pairwise preferences.")
    parser.add_argument("--version", action="version", version=f"pbde-ref {version('pbde-ref')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").split("\n")[0]
        subparser = commands.add_parser(name, help=summary[0].lower() + summary[1:].rstrip("."), description=summary)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser
