"""A client of gRPC's own with a retry policy comes back when the server has asked it to."""

from __future__ import annotations

import asyncio
import json
from time import monotonic

import pytest
from holding import Holding, eventually, waiting

grpc = pytest.importorskip("grpc")

POLICY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 2,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.01s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
            },
        }
    ]
}


def test_a_client_with_a_retry_policy_waits_as_long_as_it_is_asked_to(works: Holding) -> None:
    url = works.start("grpc://127.0.0.1:0")[0]
    address = url.removeprefix("grpc://")

    async def main() -> None:
        options = [("grpc.service_config", json.dumps(POLICY)), ("grpc.enable_retries", 1)]
        async with grpc.aio.insecure_channel(address, options) as retrying, grpc.aio.insecure_channel(address) as plain:
            first = asyncio.ensure_future(plain.unary_unary("/holding/alone")(b'{"x": 0}'))
            await eventually(lambda: works.seen == [0])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await plain.unary_unary("/holding/alone")(b'{"x": 1}')
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert waiting(works, "alone") == 0
            gate = works.found
            assert gate is not None
            second = asyncio.ensure_future(retrying.unary_unary("/holding/alone")(b'{"x": 2}'))
            began = monotonic()
            await eventually(lambda: gate.refused == 2)
            works.gate.set()
            assert await first == b"0"
            assert await second == b"2"
            assert monotonic() - began >= 1

    asyncio.run(main())
    assert works.seen == [0, 2]
