"""`python -m notifier.cli`, which needs no console script."""

import sys

from notifier.cli import main

if __name__ == "__main__":
    sys.exit(main())
