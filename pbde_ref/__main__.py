"""``python -m pbde_ref`` is the command line."""

import sys

from pbde_ref_command import main

if __name__ == "__main__":
    sys.exit(main())
