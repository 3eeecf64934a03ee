"""`python -m tfrs_distill` is `tfrs-distill`."""

import sys

from tfrs_distill.cli import main

if __name__ == "__main__":
    sys.exit(main())
