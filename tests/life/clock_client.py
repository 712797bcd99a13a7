"""A client that calls what it is told, line by line; it prints what came of it, the seconds that it took, and what time it is."""

from __future__ import annotations

import json
import sys
import time

from xooai import Executor, XooaiError

with Executor.at(sys.argv[1], trust=sys.argv[2] or None, retry=0) as client:
    for line in sys.stdin:
        arguments = json.loads(line)
        began = time.monotonic()
        try:
            found = client.post(**arguments)
        except XooaiError as error:
            found = type(error).__name__
        print(json.dumps([found, time.monotonic() - began, time.time()]), flush=True)
