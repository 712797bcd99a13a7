"""Several executors and Flows in one server."""

from __future__ import annotations

from collections.abc import Sequence

from xooai.driver import ListenOptions
from xooai.errors import InvalidArgument
from xooai.hosting import DEFAULT_URL, GRACE, announce, serve_until_signal
from xooai.served import Served

__all__ = ["serve"]


def serve(
    *executors: Served,
    at: Sequence[str] = (DEFAULT_URL,),
    certificate: str | None = None,
    key: str | None = None,
    grace: float = GRACE,
    drain_delay: float = 0,
    insecure: bool = False,
) -> None:
    """Serve several executors and Flows in one server, at one or several URLs, until SIGINT or SIGTERM.

    `certificate` and `key` are PEM files, for TLS. Beyond loopback it refuses unless `insecure`. Calls under way get `grace`
    seconds; a second signal ends them. for `drain_delay` seconds before, the server says that it is not ready and goes on, so
    that balancers find out.
    """
    if not executors:
        raise InvalidArgument("serve() takes at least one executor")
    urls = (at,) if isinstance(at, str) else tuple(at)
    options = ListenOptions(certificate, key, insecure=insecure)
    try:
        hosted = [executor._xooai_hosted() for executor in executors]
        serve_until_signal(hosted, urls, options, grace, announce, drain_delay=drain_delay)
    finally:
        for executor in executors:
            executor._xooai_served()
