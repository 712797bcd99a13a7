"""How many typed echoes a second does xooai answer over gRPC, one by one and in conversations, against bare grpc.aio?"""

import contest
import h2_load
from contest import Entry
from exchanges import GrpcExchange, calls, conversation


def bare(key: str, name: str, exchange: GrpcExchange, limit: str, loop: str = "uvloop") -> Entry:
    """Return a line of grpc.aio alone."""
    return Entry(key, name, "grpc_limit", "grpc", exchange, limit, h2_load.measure, (loop,))


def ours(key: str, name: str, exchange: GrpcExchange, limit: str) -> Entry:
    """Return a line of xooai."""
    return Entry(key, name, "xooai_stream", "grpc", exchange, limit, h2_load.measure, ("grpc",))


ENTRIES = (
    bare("limit", "limit: grpc.aio on uvloop, bytes, pydantic", calls("/limit/combo"), "limit"),
    bare("asyncio", "the same on asyncio's own loop", calls("/limit/combo"), "limit", "asyncio"),
    bare("poller", "the same with the listener that xooai takes", calls("/limit/combo"), "limit", "uvloop-poller"),
    ours("unary", "xooai, async def", calls("/streams/combo"), "limit"),
    bare("chat-limit", "limit for a conversation: read and write", conversation("/limit/chat_read"), "chat-limit"),
    bare("generator", "the same by a generator", conversation("/limit/chat"), "chat-limit"),
    bare(
        "chat-poller",
        "with the listener that xooai takes",
        conversation("/limit/chat_read"),
        "chat-limit",
        "uvloop-poller",
    ),
    ours("chat", "xooai, a conversation", conversation("/streams/chat"), "chat-limit"),
)

if __name__ == "__main__":
    contest.run(__doc__, ENTRIES, "1,16,64", ("calls", "answers", "an answer"))
