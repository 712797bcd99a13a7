"""How many typed echoes a second does xooai answer over HTTP, against the bare limit and against other frameworks?"""

import contest
from contest import Entry
from exchanges import combo, text

ENTRIES = (
    Entry("limit", "limit: bare ASGI on uvicorn, pydantic", "limit", "uvicorn", combo("/combo"), "limit"),
    Entry("xooai", "xooai, async def", "xooai_echo", "xooai", combo("/echo/combo"), "limit"),
    Entry("xooai-def", "xooai, def", "xooai_echo", "xooai", combo("/echo/combo_in_thread"), "limit"),
    Entry("fastapi", "FastAPI, async def", "fastapi_echo", "fastapi", combo("/combo"), "limit"),
    Entry("fastapi-def", "FastAPI, def", "fastapi_echo", "fastapi", combo("/combo_in_thread"), "limit"),
    Entry("litserve", "LitServe", "litserve_echo", "litserve", combo("/combo"), "limit"),
    Entry("bentoml", "BentoML", "bentoml_echo", "bentoml", combo("/combo"), "limit"),
    Entry("text-limit", "limit for a Text: the same, its plain model", "limit", "uvicorn", text("/text"), "text-limit"),
    Entry("xooai-text", "xooai, async def of a Text", "xooai_echo", "xooai", text("/echo/text"), "text-limit"),
)

if __name__ == "__main__":
    contest.run(__doc__, ENTRIES, "1,16,64")
