"""Several executors and Flows in one server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from xooai.driver import ListenOptions
from xooai.errors import InvalidArgument
from xooai.hosting import DEFAULT_URL, GRACE, announce, each, serve_until_signal
from xooai.lazy import lazy
from xooai.served import Served

if TYPE_CHECKING:
    from xooai import workers as processes
else:
    processes = lazy("xooai.workers")  # most serve alone

__all__ = ["serve"]


def serve(  # noqa: PLR0913 - all that can be said of a server (design: the public face)
    *executors: Served | type[Served],
    at: Sequence[str] = (DEFAULT_URL,),
    certificate: str | None = None,
    key: str | None = None,
    grace: float = GRACE,
    drain_delay: float = 0,
    insecure: bool = False,
    workers: int | None = None,
    devices: Sequence[str | int] = (),
    isolated: bool | str | Sequence[str] = (),
    limit: int | None = None,
    queue: int | None = None,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Serve several executors and Flows in one server, at one or several URLs, until SIGINT or SIGTERM.

    `certificate` and `key` are PEM files, for TLS. Beyond loopback it refuses unless `insecure`. Calls under way get `grace`
    seconds; a second signal ends them. For `drain_delay` seconds before, the server says that it is not ready and goes on, so
    that balancers find out. A class is made here by its constructor without arguments.

    With `workers`, so many processes serve, each with executors of its own: a class is made there alone; what was made here is
    made again from what its constructor got. One that ends or hangs is replaced, and SIGHUP replaces all, one by one. `devices`
    are dealt to them: as XOOAI_DEVICE, and as the parameter `device` of a constructor; without `workers` there is one for each.

    `isolated` names executors, or is True for all: each lives in one process of its own, which all workers call, so that its
    model is there once, and its batches are made of the calls to all of them.

    Of all calls `limit` run at a time and `queue` (1,024) wait, in each process and beside what each endpoint says for itself;
    who comes then is told when to come back.

    From the addresses and networks of `trusted_proxies`, as 10.0.0.0/8, X-Forwarded-For and Forwarded are believed.
    """
    if not executors:
        raise InvalidArgument("serve() takes at least one executor")
    for one in executors:
        if not (issubclass(one, Served) if isinstance(one, type) else isinstance(one, Served)):
            hint = "; URLs are given by at=" if isinstance(one, str) and "://" in one else ""
            raise InvalidArgument(
                f"serve() takes executors and Flows, or classes of them; {repr(one)[:80]} is none of these{hint}"
            )
    if not isinstance(at, Iterable):
        raise InvalidArgument(
            f"at={repr(at)[:80]} is no URL; it takes one, as http://127.0.0.1:8000, or several in a list"
        )
    urls = (at,) if isinstance(at, str) else tuple(at)
    if not urls:
        raise InvalidArgument("serve() takes at least one URL; at=[] names none")
    options = ListenOptions(
        certificate, key, insecure=insecure, limit=limit, queue=queue, trusted_proxies=each(trusted_proxies)
    )
    if workers is not None or devices not in ((), []) or isolated not in (False, (), []):
        processes.serve_made(executors, urls, options, (grace, drain_delay), workers, devices, isolated)
        return
    served = [one() if isinstance(one, type) else one for one in executors]
    try:
        hosted = [executor._xooai_hosted() for executor in served]
        serve_until_signal(hosted, urls, options, grace, announce, drain_delay=drain_delay)
    finally:
        for executor in served:
            executor._xooai_served()
