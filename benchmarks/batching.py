"""How many items a second does a model get through that takes batches, against the bare limit and against other frameworks?"""

import contest
from contest import Entry
from exchanges import number

ENTRIES = (
    Entry("limit", "limit: bare uvicorn, a bare asyncio batcher", "batch_limit", "uvicorn", number("/run"), "limit"),
    Entry("xooai", "xooai, def", "xooai_batch", "xooai", number("/model/run"), "limit"),
    Entry("xooai-async", "xooai, async def", "xooai_batch", "xooai", number("/model/run_on_loop"), "limit"),
    Entry("mosec", "Mosec", "batch_mosec", "mosec", number("/inference"), "limit"),
    Entry("litserve", "LitServe", "batch_litserve", "litserve", number("/run"), "limit"),
    Entry("bentoml", "BentoML", "batch_bentoml", "bentoml", number("/run"), "limit"),
)

if __name__ == "__main__":
    contest.run(__doc__, ENTRIES, "1,64")
