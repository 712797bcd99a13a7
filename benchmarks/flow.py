"""How many calls a second does a Flow of three remote nodes answer, against gateways by hand and against other frameworks?"""

import contest
from contest import Entry
from exchanges import Exchange, joined, joined_by_jina
from load import timed


def entry(key: str, name: str, program: str, module: str, *arguments: str, exchange: Exchange) -> Entry:
    """A line of the table; each answer is timed."""
    return Entry(key, name, program, module, exchange, "limit", timed, arguments)


CALL = joined("/flow/call")
ENTRIES = (
    entry("limit", "limit: bare ASGI, hops over raw sockets", "servers.flow_limit", "uvicorn", "asgi", exchange=CALL),
    entry("xooai", "xooai, a served Flow", "servers.xooai_flow", "xooai", exchange=CALL),
    entry("aiohttp", "bare ASGI, hops by aiohttp", "servers.flow_limit", "aiohttp", "aiohttp", exchange=CALL),
    entry("bentoml", "BentoML, depends", "bentoml_flow", "bentoml", exchange=joined("/run")),
    entry("jina", "Jina, a Flow", "jina_flow", "jina", exchange=joined_by_jina()),
    entry("ray", "Ray Serve, handles", "ray_flow", "ray", exchange=joined("/run")),
    entry("raw", "raw sockets only, bodies passed on unread", "servers.flow_limit", "uvicorn", "raw", exchange=CALL),
)

if __name__ == "__main__":
    contest.run(__doc__, ENTRIES, "1,16,64")
