"""Set up what the demo needs, then run it: a server reads a picture, over HTTP and in this process.

python3 scripts/demo.py [PICTURE]
"""

import sys

from environment import ROOT, run

run("demo", str(ROOT / "examples" / "demo.py"), *sys.argv[1:])
