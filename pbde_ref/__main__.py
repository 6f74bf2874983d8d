"""``python -m pbde_ref`` is the command line."""

import sys

from pbde_ref_command import main

if __name__ == "__main__":
    # A process that is spawned loads its parent's main module: this file alone, without a name in the package.
    __spec__ = None
    sys.exit(main())
