"""What does a call through the whole stack cost without a socket, against its encodes, decodes, validations alone?"""

import asyncio
import functools
import importlib.util
from collections.abc import Awaitable, Callable

from pydantic import BaseModel, TypeAdapter

import peers
import report
from exchanges import COMBO
from options import Options
from race import Runner, Spent, race, table


class Plain(BaseModel):
    """The three fields without xooai."""

    text: str
    count: int
    score: float


def floor(model: type[BaseModel]) -> Callable[[], object]:
    """Return a call that only encodes, decodes and validates: the arguments there, the reply back."""
    arguments, reply, doc = TypeAdapter(dict[str, model]), TypeAdapter(model), model.model_validate(COMBO)  # type: ignore[valid-type]

    def call() -> object:
        given = arguments.validate_json(arguments.dump_json({"doc": doc}))["doc"]
        return reply.validate_json(reply.dump_json(given))

    return call


def blocking(call: Callable[[], object], calls: int, _callers: int) -> Spent:
    """Make the calls one after the other."""
    with Spent() as spent:
        for _ in range(calls):
            call()
    return spent


def awaiting(loop: asyncio.Runner, call: Callable[[], Awaitable[object]], calls: int, _callers: int) -> Spent:
    """Make the calls one after the other on a loop."""

    async def run() -> Spent:
        with Spent() as spent:
            for _ in range(calls):
                await call()
        return spent

    return loop.run(run())


def of_xooai(loop: asyncio.Runner) -> list[Runner]:
    """Return the four ways through xooai; the last two must cross a thread."""
    served = importlib.import_module("servers.xooai_echo")
    echo, doc = served.Echo(), served.Document(**COMBO)
    post = {on: functools.partial(echo.post, on=on, doc=doc) for on in ("combo", "combo_in_thread")}
    apost = {on: functools.partial(echo.apost, on=on, doc=doc) for on in ("combo", "combo_in_thread")}
    for call in post.values():
        if call() != doc:
            raise SystemExit(f"the echo of {doc!r} was {call()!r}")
    return [
        Runner(
            "floor-combo",
            "the limit with the ComboDoc for the model",
            functools.partial(blocking, floor(served.Document)),
        ),
        Runner("post-def", "post of a def handler", functools.partial(blocking, post["combo_in_thread"])),
        Runner("apost-async", "apost of an async def handler", functools.partial(awaiting, loop, apost["combo"])),
        Runner("post-async", "post of an async def handler", functools.partial(blocking, post["combo"])),
        Runner("apost-def", "apost of a def handler", functools.partial(awaiting, loop, apost["combo_in_thread"])),
    ]


def main() -> None:
    """Measure and print the table."""
    keys = ("floor-combo", "post-def", "apost-async", "post-async", "apost-def")
    options = Options(__doc__, keys, seconds=0.5, rounds=7).parse_args()
    limit = Runner("limit", "limit: two dumps, two validations (pydantic)", functools.partial(blocking, floor(Plain)))
    with asyncio.Runner() as loop:
        runners = [limit]
        if importlib.util.find_spec("xooai"):
            runners += [runner for runner in of_xooai(loop) if runner.key in options.only]
        else:
            print(peers.missing("xooai"))
        race(runners, [1], options.rounds, options.seconds)
    print(f"{report.machine()}; {options.rounds} rounds of {options.seconds:g} s\n")
    print(table(runners, limit, [1], options.markdown))


if __name__ == "__main__":
    main()
