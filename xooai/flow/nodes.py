"""What `Flow.add` takes, read: which endpoint a node calls, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import isfunction, ismethod
from typing import TYPE_CHECKING, Any

import msgspec

from xooai.call import checked_timeout
from xooai.errors import FlowError, InvalidArgument
from xooai.flow.attempts import Limits
from xooai.flow.functions import Function
from xooai.flow.making import Made, Maker
from xooai.flow.targets import Target, There, held
from xooai.layers.retry import Retries
from xooai.lazy import lazy
from xooai.mark import mark_of
from xooai.served import Served
from xooai.threads import Threads

if TYPE_CHECKING:
    from xooai.client import Remote
    from xooai.flow import several
    from xooai.layers import hedge as hedges
else:
    hedges = lazy("xooai.layers.hedge")
    several = lazy("xooai.flow.several")

__all__ = ["RETRIES", "Used", "flag_of", "id_of", "ids_of", "limits_of", "target_of", "values_of", "when_of"]

RETRIES = 10  # of one node: with the pauses between them more than a minute, after which a server is away


class Used(msgspec.Struct, frozen=True):
    """What a node was added with, as it was given."""

    use: Any
    on: str | None
    with_: Mapping[str, Any] | None
    metadata: Mapping[str, str] | None = None
    trust: str | None = None


def _owned(use: Any, on: str | None) -> tuple[Any, str | None]:
    """A method that is an endpoint as what it is, one of its executor: as a function it would run without the `setup`."""
    if on is None and ismethod(use) and isinstance(use.__self__, Served):
        mark = mark_of(use.__func__)
        if mark is not None:
            return use.__self__, mark.name or use.__name__
    return use, on


def target_of(
    use: Any,
    on: str | None,
    with_: Mapping[str, Any] | None,
    gateway: str | None,
    server: Callable[..., Remote],
    namespace: Callable[[], Mapping[str, Any]],
    threads: Threads,
) -> Target:
    """Where the calls of a node go; those of a function into `threads`. Raises FlowError."""
    use, on = _owned(use, on)
    is_class = isinstance(use, type) and issubclass(use, Served)
    if with_ is not None and not is_class:
        raise FlowError(f"with_= is for the constructor of a class, and use={_shown(use)} is none")
    if is_class:
        if getattr(use, "_xooai_declared", None) is None:
            raise FlowError(f"use={use.__name__} is a class of Flows; give it made: use={use.__name__}()")
        return Made(Maker(use, values_of(with_, "with_")), on)
    if isinstance(use, Maker):
        return Made(use, on)
    if isinstance(use, Served):
        if on is not None and "/" in on:  # as its own post(on=) takes it
            return _there(on, None, use._xooai_gateway or gateway, server)
        return held(use, on)
    if isinstance(use, str):
        return _there(use, on, gateway, server)
    if isinstance(use, list | tuple):
        return _at_several(use, on, gateway, server)
    mark = mark_of(use)
    if mark is not None and isfunction(use):
        raise FlowError(f"use={use.__qualname__} is a method; give its class, and on={mark.name or use.__name__!r}")
    if callable(use) and not isinstance(use, type):
        if on is not None:
            raise FlowError(f"on={on!r} names an endpoint, and a function has none")
        return Function(use, namespace(), threads)
    raise FlowError(
        f"use={_shown(use)} is nothing that a node calls; it takes a class of executors, an executor, a Flow, "
        "a URL, a list of URLs of one endpoint, executor/endpoint under gateway=, or a function"
    )


def _at_several(use: Sequence[Any], on: str | None, gateway: str | None, server: Callable[..., Remote]) -> Target:
    if not use or not all(isinstance(one, str) and "://" in one for one in use):
        raise FlowError(
            f"use={_shown(use)} is nothing that a node calls: a list holds the URLs of one endpoint at several servers"
        )
    if len(use) == 1:
        return _there(use[0], on, gateway, server)
    urls = use if on is None else [f"{url.rstrip('/')}/{on}" for url in use]
    try:
        return several.Several(urls, partial(server, goes_on=True))
    except InvalidArgument as error:
        raise FlowError(error.message) from None


def _there(use: str, on: str | None, gateway: str | None, server: Callable[[str], Remote]) -> There:
    url = use
    if "://" not in use:
        if gateway is None:
            raise FlowError(
                f"use={_shown(use)} names no host, and this Flow has no gateway=; write a URL or pass gateway="
            )
        url = f"{gateway.rstrip('/')}/{use.lstrip('/')}"
    if on is not None:
        url = f"{url.rstrip('/')}/{on}"
    try:
        return There(url, server)
    except InvalidArgument as error:
        raise FlowError(error.message) from None


def ids_of(needs: object) -> tuple[str, ...]:
    """The ids that a node needs: several, or one alone. Raises FlowError."""
    given: Any = (needs,) if isinstance(needs, str) else needs
    if not isinstance(given, Sequence) or not all(isinstance(need, str) for need in given):
        raise FlowError(f"needs={_shown(needs)} is no id, and no tuple of ids")
    return tuple(given)


def id_of(id: object) -> str:
    """Raises FlowError."""
    if not isinstance(id, str) or not id:
        raise FlowError(f"id={_shown(id)} is no id; it takes any text")
    return id


def values_of(given: Any, name: str) -> dict[str, Any]:
    """What `args` or `with_` says, by name. Raises FlowError."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise FlowError(f"{name}={_shown(given)} is no mapping of names to values")
    return dict(given)


def flag_of(given: object, name: str) -> bool:
    """What `optional` or `each` says. Raises FlowError."""
    if not isinstance(given, bool):
        raise FlowError(f"{name}={_shown(given)} is neither True nor False")
    return given


def when_of(when: Any) -> Any:
    """A condition as it is now, whatever becomes of the dict that was given."""
    if not isinstance(when, Mapping):
        return when
    return {path: dict(said) if isinstance(said, Mapping) else said for path, said in when.items()}


def limits_of(timeout: float | None, retry: int, hedge: float | None = None) -> Limits:
    """Raises FlowError."""
    try:
        seconds = None if timeout is None else checked_timeout(timeout)
        delay = None if hedge is None else hedges.checked(hedge)
    except InvalidArgument as error:
        raise FlowError(error.message) from None
    if seconds is not None and seconds <= 0:
        raise FlowError(
            f"timeout={_shown(timeout)} leaves a call no time; it takes seconds above 0, or None for no limit"
        )
    if isinstance(retry, bool) or not isinstance(retry, int) or not 0 <= retry <= RETRIES:
        raise FlowError(f"retry={_shown(retry)} is not how many times a call may be made anew: 0 to {RETRIES}")
    return Limits(seconds, retry, delay, None if delay is None else Retries())


def _shown(value: object) -> str:
    return value.__name__ if isinstance(value, type) or isfunction(value) else repr(value)[:80]
