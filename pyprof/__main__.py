"""`python -m pyprof` is `pyprof`."""

import sys

from pyprof.cli.main import main

sys.exit(main())
