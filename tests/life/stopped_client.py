"""A client that does what it is told, line by line: the endpoint to call, and its arguments; it prints what came of it."""

from __future__ import annotations

import json
import sys

from xooai import Executor, XooaiError

with Executor.at(sys.argv[1], trust=sys.argv[2] or None, retry=0) as client:
    for line in sys.stdin:
        on, arguments = json.loads(line)
        try:
            print(client.post(on=on, timeout=150, **arguments), flush=True)
        except XooaiError as error:
            print(type(error).__name__, flush=True)
