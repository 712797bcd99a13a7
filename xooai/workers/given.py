"""What is said of a server by workers, and refused before any is started where it cannot work."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from xooai.errors import InvalidArgument
from xooai.workers.apart import checked_names, name_of
from xooai.workers.plan import Dumping, Recipe, Servable, Written

__all__ = ["checked_devices", "counted", "named", "refuse_unservable"]

MOST = 1024  # workers: more than any machine has cores for


def refuse_unservable(executors: Sequence[Servable | type[Servable]]) -> None:
    """Raises InvalidArgument for what no worker could serve."""
    names: list[str] = []
    kinds: list[type] = []
    for one in executors:
        if isinstance(one, type):
            if issubclass(one, Dumping) and one.__init__.__module__.startswith("xooai."):
                raise InvalidArgument(
                    f"serve() got the class {one.__name__}, of which each worker would make one without nodes; give the Flow "
                    "itself: Flow.load(path), or Flow() with its nodes by add()"
                )
            is_twice, name = one in kinds, name_of(one, {})
            kinds.append(one)
        else:
            name = str(getattr(one, "name", ""))
            is_twice = name in names
            names.append(name)
        if is_twice:
            raise InvalidArgument(f"two executors are called {name!r}; give one of them another name=")


def counted(workers: object, devices: Sequence[str]) -> int:
    """The number of workers: as many as devices where it is not given. Raises InvalidArgument."""
    if workers is None:
        return len(devices)
    if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= MOST:
        raise InvalidArgument(f"workers={repr(workers)[:80]} is no number of processes; it takes 1 to {MOST}")
    if sys.platform == "win32":
        raise InvalidArgument(f"workers={workers} needs sockets and signals that Windows does not have; leave it out")
    return workers


def checked_devices(devices: object) -> tuple[str, ...]:
    """Devices as texts: `0,1`, a list of texts or numbers. Raises InvalidArgument."""
    given = devices.split(",") if isinstance(devices, str) else devices
    if not isinstance(given, Sequence):
        given = (given,)
    found = tuple(str(one).strip() for one in given)
    if not all(found) or any(isinstance(one, bool) or not isinstance(one, str | int) for one in given):
        raise InvalidArgument(f"devices={repr(devices)[:80]} names no devices; it takes such as ('cuda:0', 'cuda:1')")
    return found


def named(isolated: object, made: Sequence[Recipe | Written]) -> tuple[str, ...]:
    """The names of executors that are to be isolated; True for all of them. Raises InvalidArgument."""
    known = [
        name_of(one.kind, one.by_name) for one in made if isinstance(one, Recipe) and not issubclass(one.kind, Dumping)
    ]
    if isolated is False or isolated == () or isolated == []:
        return ()
    if not known:
        raise InvalidArgument(
            f"isolated={repr(isolated)[:80]} is of executors, and only a Flow is given; serve the executors of its nodes apart, "
            "and add them by their URLs"
        )
    listed = ", ".join(known)
    if isolated is True:
        if len(known) < len(made):
            raise InvalidArgument(
                f"isolated=True is of executors, and a Flow is among those given; name some of: {listed}"
            )
        return tuple(known)
    given = (isolated,) if isinstance(isolated, str) else isolated
    if not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        raise InvalidArgument(
            f"isolated={repr(isolated)[:80]} is neither True nor names of executors; there are: {listed}"
        )
    return checked_names(given, known)
