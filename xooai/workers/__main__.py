"""A worker's process begins here: `python -m xooai.workers DESCRIPTOR`."""

from __future__ import annotations

import sys

from xooai.workers.process import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
