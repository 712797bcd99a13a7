"""What makes a method an endpoint: `@post` and `@stream`, and what they are told of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

import msgspec
from msgspec.structs import replace

from xooai.duration import seconds_of
from xooai.lazy import lazy

if TYPE_CHECKING:
    from xooai import batching
    from xooai.batching import Batch
else:
    batching = lazy("xooai.batching")  # few endpoints take them

__all__ = ["Mark", "mark_of", "post", "stream"]

F = TypeVar("F", bound=Callable[..., Any])


class Mark(msgspec.Struct, frozen=True):
    """What `@post` and `@stream` write on a function."""

    name: str | None = None
    streams: bool = False
    cache: float | None = None  # seconds
    batch: Batch | None = None
    idempotent: bool = False
    warmup: tuple[Any, ...] = ()
    limit: int | None = None  # calls at a time
    queue: int | None = None  # calls that wait

    @property
    def decorator(self) -> str:
        return "stream" if self.streams else "post"


@overload
def post(function: F, /) -> F: ...
@overload
def post(
    *,
    name: str | None = None,
    cache: str | float | None = None,
    batch_size: int | None = None,
    batch_wait: float | None = None,
    batch_target: float | None = None,
    batch_concurrency: int | None = None,
    batch_split: bool | None = None,
    weight: Callable[[Any], float] | None = None,
    idempotent: bool = False,
    warmup: Any = None,
    limit: int | None = None,
    queue: int | None = None,
) -> Callable[[F], F]: ...
def post(  # noqa: PLR0913 - all that can be said of an endpoint (design: the public face)
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    cache: str | float | None = None,
    batch_size: int | None = None,
    batch_wait: float | None = None,
    batch_target: float | None = None,
    batch_concurrency: int | None = None,
    batch_split: bool | None = None,
    weight: Callable[[Any], float] | None = None,
    idempotent: bool = False,
    warmup: Any = None,
    limit: int | None = None,
    queue: int | None = None,
) -> F | Callable[[F], F]:
    """Make a method an endpoint, called after the method or by `name`. The method itself stays plain Python.

    With `cache`, a length of time such as "10m" or 600, a reply is kept for so long: who calls with the same arguments is
    given it, and the method does not run. Its replies must follow from the arguments, and the caller's identity, alone.

    With `batch_size` the method takes what up to so many callers give, as a list, and returns their replies in a list; each
    caller gives and gets one. A batch leaves when it is full, when its first item has waited `batch_wait` seconds (0.005),
    or when nothing runs and nothing is coming. `weight`, a function of an item, says what it counts towards `batch_size`,
    else 1. With `batch_target` batches are kept small enough for an item to wait and run in so many seconds, as far as can be
    told from the batches before. `batch_concurrency` batches run side by side (1). With `batch_split` a batch that fails is
    run again in halves until the item is found that fails, for a method that may run twice.

    With `idempotent` a call may run twice, as if it had run once: clients make it anew also where nobody knows whether it ran.

    `warmup` is an example that runs before a server says that it is ready: the value of the one parameter that is needed, or a
    mapping of arguments by name, or a list of either; those of an endpoint that takes batches run as one.

    On a server `limit` calls of it run at a time, `queue` others wait for their turn, and who comes then is told when to come
    back. Unless said, these are 1,024 and 1,024; of a `def` as many run as there are worker threads.
    """
    batch = _Batched(batch_size, batch_wait, batch_target, batch_concurrency, batch_split, weight)
    if not isinstance(idempotent, bool):
        raise TypeError(f"idempotent={repr(idempotent)[:80]} is neither True nor False")
    said = Mark(name, idempotent=idempotent, warmup=_examples(warmup), limit=limit, queue=queue)
    return _marked(function, said, "@post", cache, batch)


@overload
def stream(function: F, /) -> F: ...
@overload
def stream(*, name: str | None = None, limit: int | None = None, queue: int | None = None) -> Callable[[F], F]: ...
def stream(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    cache: object = None,
    batch_size: object = None,
    limit: int | None = None,
    queue: int | None = None,
) -> F | Callable[[F], F]:
    """Make a method an endpoint that streams, as its annotations say.

    `-> AsyncIterator[T]` (or a generator) gives many replies, a parameter `AsyncIterator[T]` takes many requests, both are a
    conversation; a `def` has `Iterator[T]` instead, and runs in worker threads. `limit` and `queue` are as those of `@post`: a
    stream counts as long as it lasts.
    """
    if batch_size is not None:
        raise TypeError(
            f"batch_size={batch_size!r}: an endpoint that streams takes no batches; use @post, or gather its items"
        )
    return _marked(function, Mark(name, streams=True, limit=limit, queue=queue), "@stream", cache)


class _Batched(NamedTuple):
    """What `@post` was told of batches, as it was told."""

    size: int | None
    wait: float | None
    target: float | None
    concurrency: int | None
    split: bool | None
    weight: Callable[[Any], float] | None


def _marked(
    function: F | None, given: Mark, decorator: str, cache: object, batched: _Batched | None = None
) -> F | Callable[[F], F]:
    def mark(function: F) -> F:
        if not inspect.isfunction(function):
            raise TypeError(f"{decorator} stands on a method (def or async def), not on {type(function).__name__}")
        for word, count, least in (("limit", given.limit, 1), ("queue", given.queue, 0)):
            if count is not None and not _is_count(count, least):
                raise TypeError(
                    f"{function.__qualname__}: {word}={repr(count)[:80]} is no number of calls; a whole number from {least} on"
                )
        seconds = None if cache is None else _kept_for(cache, given, function.__qualname__)
        batch = None
        if batched is not None and any(told is not None for told in batched):
            batch = batching.batch_of(function.__qualname__, **batched._asdict())
        function.__xooai__ = replace(given, cache=seconds, batch=batch)  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)


def _examples(warmup: Any) -> tuple[Any, ...]:
    return () if warmup is None else tuple(warmup) if isinstance(warmup, list | tuple) else (warmup,)


def _is_count(given: object, least: int) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= least


def _kept_for(cache: object, given: Mark, where: str) -> float:
    """The seconds for which replies are kept. Raises TypeError."""
    if given.streams:
        raise TypeError(
            f"{where}: cache={repr(cache)[:80]}: the replies of an endpoint that streams are not kept; use @post"
        )
    seconds = seconds_of(cache)
    if seconds is None:
        raise TypeError(
            f"{where}: cache={repr(cache)[:80]} is no length of time; it takes a number of seconds above 0, or a text such as "
            "'90s', '10m', '12h' or '7d'"
        )
    return seconds


def mark_of(function: object) -> Mark | None:
    """What the decorator wrote, or None where none stood."""
    inner = function.__func__ if isinstance(function, staticmethod | classmethod) else function
    return vars(inner).get("__xooai__") if inspect.isfunction(inner) else None  # anything else may answer to any name
