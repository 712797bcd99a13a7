"""Where and how a command serves: its options, and the time from opening to the last call."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from xooai import cache_place
from xooai.cli import logs
from xooai.cli.amounts import Number
from xooai.driver import ListenOptions
from xooai.errors import InvalidArgument
from xooai.hosting import DEFAULT_URL, GRACE, check, instead, serve_until_signal
from xooai.lazy import lazy
from xooai.log import logger
from xooai.routes import Hosted
from xooai.served import Served
from xooai.shared_stores import Stores, store_of

if TYPE_CHECKING:
    from xooai import fetch, workers
else:
    fetch = lazy("xooai.fetch")
    workers = lazy("xooai.workers")

__all__ = ["ISOLATED", "MODULE", "OPTIONS", "RELOAD", "is_for_workers", "listen", "listen_by_workers"]

_LOG = logger("xooai")
_TERMINATED = 128 + signal.SIGTERM

_FILE = click.Path(exists=True, dir_okay=False)
OPTIONS: list[click.Parameter] = [
    click.Option(
        ["--url", "urls"], multiple=True, default=(DEFAULT_URL,), metavar="URL", show_default=True,
        help="Where to listen, scheme://host:port; may be repeated. Port 0 is any free one, the banner tells which.",
    ),
    click.Option(["--certificate"], type=_FILE, metavar="FILE", help="PEM file with the certificate, for https://."),
    click.Option(["--key"], type=_FILE, metavar="FILE", help="PEM file with the certificate's key."),
    click.Option(
        ["--clients"], type=_FILE, metavar="FILE",
        help="PEM file of authorities; only clients with a certificate of one of them may connect.",
    ),
    click.Option(
        ["--host", "hosts"], multiple=True, metavar="NAME",
        help="A name by which clients call this server, beside its own and those of its certificate; may be repeated.",
    ),
    click.Option(
        ["--grace"], type=Number(min=0), default=GRACE, metavar="SECONDS", show_default=True,
        help="How long calls under way may take when the server stops; a second Ctrl-C ends them.",
    ),
    click.Option(
        ["--drain-delay"], type=Number(min=0), default=0.0, metavar="SECONDS", show_default=True,
        help="How long a server that is to stop says that it is not ready and goes on as before: until balancers have found out.",
    ),
    click.Option(
        ["--store"], metavar="NAME=URL",
        help="Where clients put large files and find those of replies, as media=s3://bucket/prefix; else the server keeps them.",
    ),
    click.Option(
        ["--fetch", "fetched"], multiple=True, metavar="HOST",
        help="A host whose https:// and http:// URLs in calls are fetched, as files.example.com, '*.example.com' or '*' for all "
        "that are public; may be repeated.  [default: none]",
    ),
    click.Option(
        ["--keys"], type=_FILE, metavar="FILE",
        help="A file of keys, by xooai keys; who calls without one of them is refused.  [env: XOOAI_KEYS]",
    ),
    click.Option(
        ["--limit"], type=click.IntRange(min=1), metavar="N",
        help="How many calls run at a time, of all endpoints; the others wait.  [default: as each endpoint says]",
    ),
    click.Option(
        ["--queue"], type=click.IntRange(min=0), metavar="N",
        help="With --limit: how many calls wait; who comes then is told when to come back.  [default: 1024]",
    ),
    click.Option(
        ["--trusted-proxies"], default="", metavar="NETWORK,...",
        help="Proxies, as 10.0.0.0/8,192.0.2.1, that are believed where a call came from.  [default: none]",
    ),
    click.Option(["--insecure"], is_flag=True, help="Allow addresses beyond this machine, where anybody may call."),
    click.Option(
        ["--workers"], type=click.IntRange(1, 1024), metavar="N",
        help="How many processes serve, each with executors of its own. SIGHUP replaces them one by one.  [default: this one]",
    ),
    click.Option(
        ["--devices"], metavar="NAME,...",
        help="Devices that are dealt to the workers, as 0,1 or cuda:0,cuda:1: by XOOAI_DEVICE, and a constructor's parameter "
        "device. Without --workers there is one for each.",
    ),
    click.Option(
        ["--log"], type=click.Choice(["text", "json"]), default="text", show_default=True,
        help="How the log on stderr is written.",
    ),
    click.Option(
        ["--log-level"], type=click.Choice(logs.LEVELS), default="warning", show_default=True,
        help="From which level on records are written.",
    ),
    click.Option(["--access-log"], is_flag=True, help="Write a record of each call: what, how it ended, how long, who."),
]  # fmt: skip

MODULE = click.Option(
    ["--module", "-M", "modules"], multiple=True, metavar="MODULE", envvar="XOOAI_MODULES", show_envvar=True,
    help="A module, or path/to/file.py, of which a YAML file may name classes and functions; may be repeated.",
)  # fmt: skip

RELOAD = click.Option(
    ["--reload"], is_flag=True, help="Start again when a .py or .yaml file below this directory changes."
)


ISOLATED = click.Option(
    ["--isolated"], multiple=True, metavar="NAME",
    help="An executor that lives in one process of its own, which all workers call; may be repeated.",
)  # fmt: skip


def listen(values: dict[str, Any], opened: Callable[[ExitStack], Sequence[Served | workers.Apart]]) -> None:
    """Serve what is opened, with the values of `OPTIONS`, until SIGINT or SIGTERM."""
    logs.configure(values["log"], values["log_level"], values["access_log"])
    with _ending(), _terminable(), ExitStack() as stack:
        urls, listening = values["urls"], _options(values)
        stores = _contents(values)
        _ask_for_keys(values["keys"])
        if instead() is None:
            _look_at_cache()
            check(urls, listening)
        executors = opened(stack)
        for executor in executors:
            if stores and not executor._xooai_stores:
                executor._xooai_keep(_xooai_stores=stores)
        hosted = [executor._xooai_hosted() for executor in executors]
        serve_until_signal(
            hosted,
            urls,
            listening,
            values["grace"],
            lambda bound: _announce(bound, hosted, values["log"]),
            drain_delay=values["drain_delay"],
        )


@contextmanager
def _ending() -> Iterator[None]:
    """End the process there and then where threads of calls that were cut off would keep it."""
    try:
        yield
    except SystemExit as end:
        threads = [one for one in threading.enumerate() if not one.daemon and one is not threading.current_thread()]
        if end.code and threads:
            _LOG.error("%d threads of what was cut off still run; the process ends without them", len(threads))
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(end.code))
        raise


def is_for_workers(values: Mapping[str, Any]) -> bool:
    """Whether several processes are asked for, and this is none of them."""
    return (
        values["workers"] is not None or values["devices"] is not None or bool(values.get("isolated"))
    ) and instead() is None


def listen_by_workers(values: Mapping[str, Any], args: Sequence[str]) -> None:
    """Serve by processes that each run `xooai` with `args`, until SIGINT or SIGTERM."""
    logs.configure(values["log"], values["log_level"], values["access_log"])
    if values["reload"]:
        raise click.UsageError("--reload starts one process anew; leave out --workers, --devices and --isolated")
    _contents(values)  # what is wrong with them is told once, and by no worker
    _ask_for_keys(values["keys"])
    _look_at_cache()
    devices = () if values["devices"] is None else workers.checked_devices(values["devices"])
    isolated = tuple(dict.fromkeys(values.get("isolated", ())))
    count = 1 if isolated and values["workers"] is None else workers.counted(values["workers"], devices)
    ending = values["grace"], values["drain_delay"]
    with _terminable():
        load = workers.Command(tuple(args))
        workers.serve_by_workers(
            workers.Plan(tuple(values["urls"]), _options(values), ending, count, devices, load, isolated),
            logs.record if values["log"] == "json" else workers.line,
        )


def _options(values: Mapping[str, Any]) -> ListenOptions:
    as_they_are = ("certificate", "key", "clients", "insecure", "limit", "queue")
    proxies = tuple(one.strip() for one in values["trusted_proxies"].split(",") if one.strip())
    return ListenOptions(
        hosts=tuple(values["hosts"]), trusted_proxies=proxies, **{name: values[name] for name in as_they_are}
    )


def _contents(values: Mapping[str, Any]) -> Stores:
    """The stores; what may be fetched is switched on. Raises InvalidArgument and PluginError."""
    stores, fetched = store_of(values["store"]), values["fetched"]
    if not all(map(str.strip, fetched)):
        raise InvalidArgument("--fetch takes a host, as files.example.com, '*.example.com' or '*'; '' names none")
    if fetched:
        os.environ["XOOAI_FETCH"] = ",".join(fetched)
        fetch.switched_on()  # raises here what is wrong with it
    return stores


def _ask_for_keys(keys: str | None) -> None:
    if keys is not None:
        os.environ["XOOAI_KEYS"] = keys


def _look_at_cache() -> None:
    """Say at the start what callers with large contents would find out. A place that is named has to be one."""
    if os.environ.get(cache_place.PLACE):
        cache_place.make_named()
    elif obstacle := cache_place.obstacle():
        _LOG.warning("no contents can be kept for callers: %s", obstacle)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does, also while models are loaded: `close` is called."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _announce(urls: Sequence[str], executors: Sequence[Hosted], form: str) -> None:
    """The banner: one line with the URLs, then one for each endpoint; where the log is JSON, one record with all of it."""
    first = f"xooai serves at {' '.join(urls)}"
    paths = [f"{one.name}/{endpoint.name}" for one in executors for endpoint, _ in one.endpoints()]
    if form == "json":
        _write_banner(logs.record(first, urls=list(urls), endpoints=paths))
        return
    lines = [first]
    for url in urls:
        lines += [f"  {url}/{path}" for path in paths]
        if urlsplit(url).scheme in ("http", "https"):
            lines.append(f"  {url}/docs")
    _write_banner("\n".join(lines))


def _write_banner(text: str) -> None:
    try:
        click.echo(text)
        sys.stdout.flush()
    except OSError as error:  # its disk is full, or who read it has left: a server does without
        _LOG.warning("the banner cannot be written: %s", error.strerror)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what waits to be written goes there
