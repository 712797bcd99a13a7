"""How many items a second does a model get through that takes batches, against the bare limit and against other frameworks?"""

import contest
from contest import Entry
from exchanges import number
from load import timed


def entry(key: str, name: str, program: str, module: str, path: str) -> Entry:
    """A line of the table; each answer is timed."""
    return Entry(key, name, program, module, number(path), "limit", timed)


ENTRIES = (
    entry("limit", "limit: bare uvicorn, a bare asyncio batcher", "batch_limit", "uvicorn", "/run"),
    entry("xooai", "xooai, def", "xooai_batch", "xooai", "/model/run"),
    entry("xooai-async", "xooai, async def", "xooai_batch", "xooai", "/model/run_on_loop"),
    entry("mosec", "Mosec", "batch_mosec", "mosec", "/inference"),
    entry("litserve", "LitServe", "batch_litserve", "litserve", "/run"),
    entry("bentoml", "BentoML", "batch_bentoml", "bentoml", "/run"),
    entry("ray", "Ray Serve", "batch_ray", "ray", "/run"),
)

if __name__ == "__main__":
    contest.run(__doc__, ENTRIES, "1,64")
