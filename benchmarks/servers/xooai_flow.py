"""A served Flow in xooai before three served executors, each in a process of its own.

python -m servers.xooai_flow PORT
"""

import sys

from servers.beside import started
from xooai import Flow

if __name__ == "__main__":
    ports = started("xooai_echo")
    urls = {name: f"http://127.0.0.1:{port}/echo" for name, port in ports.items()}
    f = Flow(name="flow")
    f.add(use=f"{urls['left']}/combo", id="left")
    f.add(use=f"{urls['right']}/combo", id="right")
    f.add(use=f"{urls['join']}/join", id="join", needs=("left", "right"))
    f.serve(f"http://127.0.0.1:{sys.argv[1]}")
