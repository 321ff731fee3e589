"""`python -m ikp.cli`, the same as the command `ikp`."""

import sys

from ikp.cli.main import main

sys.exit(main())
