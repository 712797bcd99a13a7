"""What does it cost a typed echo over HTTP that calls are counted, against the same server that counts none?"""

import contest
from contest import Entry
from exchanges import combo

ENTRIES = (
    Entry(
        "limit",
        "limit: xooai, not counted",
        "xooai_echo",
        "xooai",
        combo("/echo/combo"),
        "limit",
        arguments=("uncounted",),
    ),
    Entry("xooai", "xooai, counted", "xooai_echo", "xooai", combo("/echo/combo"), "limit"),
)

if __name__ == "__main__":
    contest.run(__doc__, ENTRIES, "1,16")
