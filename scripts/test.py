"""Set up what the tests need, then run them, several at a time. Arguments go to pytest.

python3 scripts/test.py [-m slow] [tests/test_doc.py] [-k words] [-n 0] ...
"""

import os
import sys

from environment import ROOT, SEVERAL, prepare, run, suite

os.chdir(ROOT)
if len(sys.argv) > 1:
    run("test", "-m", "pytest", *SEVERAL, *sys.argv[1:])
raise SystemExit(suite(prepare("test"), *SEVERAL))
