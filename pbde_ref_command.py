"""The script ``pbde-ref``: the package takes long enough to load for Ctrl-C to come in between."""

import os
import sys
from types import TracebackType


def main() -> int:
    """Run the command line, and return the exit status."""
    try:
        from pbde_ref.cli import main as run

        return run()
    except (KeyboardInterrupt, ImportError) as error:
        if not _interrupted(error):
            raise
        print("interrupted", file=sys.stderr)
        return 130


def _interrupted(error: BaseException) -> bool:
    # A module in C that was interrupted fails to load.
    return isinstance(error.__cause__ or error, KeyboardInterrupt)


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not _interrupted(error):
        sys.__excepthook__(kind, error, trace)
        return
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(130)


if sys.argv[:1] == ["-m"] and "pbde_ref" in sys.orig_argv:
    # The package is being loaded by ``python -m pbde_ref``, before anything of it can catch Ctrl-C.
    sys.excepthook = _end
