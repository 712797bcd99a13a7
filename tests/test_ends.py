"""One end of a call: what it is told after it was cut off does not count."""

from __future__ import annotations

import asyncio

import pytest

from xooai.driver import Head, Outcome, Shape
from xooai.ends import ClientEnd
from xooai.errors import Code, DeadlineExceeded, ResourceExhausted


class Deaf:
    """A peer that sends on, whatever it is told; `left` says when this side has left."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    def on_frame(self, frame: bytes) -> None:
        pass

    def on_room(self, size: int) -> None:
        pass

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        pass

    def on_left(self) -> None:
        self.left.set()


async def late(frame: bytes | None, outcome: Outcome) -> ClientEnd:
    """A call with a frame to read, whose peer ended it when its time was over."""
    end, peer = ClientEnd(Head("/echo/each", "application/json", shape=Shape.BIDI, timeout=0.01), 10), Deaf()
    end.peer = peer
    end.start()
    end.on_frame(b"1")
    await peer.left.wait()
    end.on_end(frame, outcome)
    return end


@pytest.mark.parametrize("frame", [None, b"2"])
@pytest.mark.parametrize("outcome", [Outcome(), Outcome(Code.NOT_FOUND, "not here")], ids=["well", "badly"])
def test_an_end_after_the_deadline_is_none(frame: bytes | None, outcome: Outcome) -> None:
    async def scenario() -> None:
        end = await late(frame, outcome)
        with pytest.raises(DeadlineExceeded):
            await end.send(b"x")
        assert await end.receive() == b"1"
        for _ in range(2):
            assert end.outcome is None
            with pytest.raises(DeadlineExceeded):
                await end.receive()

    asyncio.run(scenario())


def test_a_call_whose_last_frame_is_too_large_has_not_ended_well() -> None:
    async def scenario() -> None:
        end = ClientEnd(Head("/echo/each", "application/json", shape=Shape.SERVER), 10)
        end.peer = Deaf()
        end.on_frame(b"1")
        end.on_end(bytes(11), Outcome())
        assert await end.receive() == b"1"
        with pytest.raises(ResourceExhausted):
            await end.receive()
        assert end.outcome is None

    asyncio.run(scenario())
