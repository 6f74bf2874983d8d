"""The script ``pbde-ref``: the package takes long enough to load for Ctrl-C to come in between."""

import sys


def main():
    """Run the command line, and return the exit status."""
    try:
        from pbde_ref.cli import main as run

        return run()
    except (KeyboardInterrupt, ImportError) as error:
        # A module in C that was interrupted fails to load.
        if not isinstance(error.__cause__ or error, KeyboardInterrupt):
            raise
        print("interrupted", file=sys.stderr)
        return 130
