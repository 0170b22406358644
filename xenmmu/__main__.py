"""``python -m xenmmu``: the command line."""

import sys

from xenmmu.cli import main

sys.exit(main())
