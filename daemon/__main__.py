"""`python -m forebay.daemon` is the command `forebay`."""

import sys

from forebay.daemon.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
