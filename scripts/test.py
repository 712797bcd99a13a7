"""Set up what the tests need, then run them. Arguments go to pytest.

python3 scripts/test.py [-m slow] [tests/test_doc.py] [-k words] ...
"""

import os
import sys

from environment import ROOT, run

os.chdir(ROOT)
run("test", "-m", "pytest", *sys.argv[1:])
