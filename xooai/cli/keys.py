"""`xooai keys`: who may call: keys and certificates, what they may do, for how long."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from rich import box
from rich.table import Table

from xooai.cli.amounts import Bandwidth, Rate
from xooai.cli.terminal import console
from xooai.duration import seconds_of
from xooai.errors import InvalidArgument, NotFound
from xooai.keys.file import PRIORITIES, SCOPE, TENANT, Entry, changed, now, read
from xooai.keys.secret import Given, mac, made
from xooai.log import printable

__all__ = ["command"]


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        seconds = seconds_of(value)
        if seconds is None:
            self.fail(f"{value!r} is no length of time; it looks like 90d, 12h or 30m", param, ctx)
        try:
            found = timedelta(seconds=seconds)
            now() + found
        except OverflowError:
            self.fail(f"{value!r} is longer than any calendar goes", param, ctx)
        return found


_FILE = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="XOOAI_KEYS",
    required=True,
    metavar="FILE",
    help="The file of keys.  [env: XOOAI_KEYS]",
)
_TENANTS = click.option(
    "--tenant", required=True, metavar="NAME", help="Who its holder is to the server: current().identity."
)
_SCOPES = click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="What may be called: reader/read, reader/* or '*'; may be repeated.",
)
_EXPIRES = click.option("--expires", type=_Duration(), metavar="TIME", help="How long it is valid, as 90d or 12h.")
_LIMIT = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="How many calls it may have under way at a time."
)
_RATE = click.option("--rate", type=Rate(), metavar="N/s", help="How many calls it may make, as 100/s, 30/m or 1000/h.")
_BANDWIDTH = click.option(
    "--bandwidth", type=Bandwidth(), metavar="N/s", help="How many bytes its calls may move, as 10MB/s or 512KiB/s."
)
_PRIORITY = click.option(
    "--priority", type=click.IntRange(*PRIORITIES), default=0, show_default=True, metavar="N",
    help="The highest xooai-priority that it may claim, from -9 to 9.",
)  # fmt: skip
_NOTE = click.option("--note", default="", metavar="TEXT", help="What it is for; shown by list.")


@click.group(
    epilog="""\b
Examples:
  xooai keys new --file keys.json --tenant acme --scope 'reader/*' --expires 90d
  xooai serve reader:Reader --keys keys.json
  xooai post http://127.0.0.1:8080/reader/read doc=@scan.jpg --metadata authorization=@key.txt
  xooai keys list --file keys.json
  xooai keys rotate 5f0c9d1e2b3a4c5d --file keys.json --overlap 1h
  xooai keys revoke 5f0c9d1e2b3a4c5d --file keys.json"""
)
def command() -> None:
    """Say who may call a server: make, list, replace and revoke keys.

    A server that is started with the file answers nobody without a key that is in it, or a certificate, and hears of each
    change within a second. The file holds no key, only what a key is recognised by.
    """


command.name = "keys"


@command.command(
    epilog="\b\nExamples:\n  xooai keys new --file keys.json --tenant acme --scope 'reader/*' --expires 90d"
)
@_FILE
@_TENANTS
@_SCOPES
@_EXPIRES
@_LIMIT
@_RATE
@_BANDWIDTH
@_PRIORITY
@_NOTE
def new(path: Path, tenant: str, scopes: Sequence[str], expires: timedelta | None, **more: Any) -> None:
    """Make a key and print it: as the header that a caller sends. It is shown this once.

    The file is made where there is none.
    """
    _check(tenant, scopes)
    given, text = made()
    with changed(path) as found:
        entry = Entry(given.id, tuple(scopes), tenant, now(), mac(given, found.salt), expires=_ends(expires), **more)
        found.keys.append(entry)
    _tell(given, text)


@command.command(
    epilog="\b\nExamples:\n  xooai keys allow spiffe://example.com/worker --file keys.json --tenant worker --scope '*'"
)
@click.argument("certificate")
@_FILE
@_TENANTS
@_SCOPES
@_EXPIRES
@_LIMIT
@_RATE
@_BANDWIDTH
@_PRIORITY
@_NOTE
def allow(
    certificate: str, path: Path, tenant: str, scopes: Sequence[str], expires: timedelta | None, **more: Any
) -> None:
    """Let the holder of a certificate call, by the name in it: its first URI, email, DNS name, or common name.

    For servers that ask for certificates by --clients.
    """
    _check(tenant, scopes)
    with changed(path) as found:
        entries = found.keys
        if any(entry.certificate == certificate and not entry.ended(now()) for entry in entries):
            raise InvalidArgument(f"{certificate!r} is in the file already; revoke that entry first")
        entry = Entry(secrets.token_hex(8), tuple(scopes), tenant, now(), "", certificate, _ends(expires), **more)
        entries.append(entry)
    click.echo(f"{entry.id} allows {certificate}")


@command.command("list", epilog="\b\nExamples:\n  xooai keys list --file keys.json")
@_FILE
def listed(path: Path) -> None:
    """List the keys: who has them, what they allow, until when."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("id", "tenant", "scopes", "made", "expires", "limits", "state", "for"):
        table.add_column(title, overflow="fold")
    when = now()
    for entry in read(path).keys:
        expires = "never" if entry.expires is None else _shown(entry.expires)
        about = " ".join(filter(None, (entry.certificate, entry.note)))
        row = (
            entry.id,
            entry.tenant,
            " ".join(entry.scopes),
            _shown(entry.made),
            expires,
            _limits(entry),
            entry.state(when),
            about,
        )
        table.add_row(*map(printable, row))
    console().print(table)


@command.command(epilog="\b\nExamples:\n  xooai keys revoke 5f0c9d1e2b3a4c5d --file keys.json")
@click.argument("id")
@_FILE
def revoke(id: str, path: Path) -> None:
    """Have a key refused from now on; servers know within a second."""
    with changed(path) as found:
        entries = found.keys
        index = _found(entries, id, path)
        if entries[index].revoked is None:
            entries[index] = replace(entries[index], revoked=now())
    click.echo(f"{id} is revoked")


@command.command(epilog="\b\nExamples:\n  xooai keys rotate 5f0c9d1e2b3a4c5d --file keys.json --overlap 1h")
@click.argument("id")
@_FILE
@_EXPIRES
@click.option(
    "--overlap", type=_Duration(), metavar="TIME", help="How long the old key stays valid beside it.  [default: not]"
)
def rotate(id: str, path: Path, expires: timedelta | None, overlap: timedelta | None) -> None:
    """Make a key in the place of another one, with its tenant, scopes and limits, and print it."""
    given, text = made()
    with changed(path) as found:
        entries = found.keys
        index = _found(entries, id, path)
        old = entries[index]
        if old.ended(now()) or not old.hash:
            raise InvalidArgument(
                f"{id} is {'no key' if not old.hash else old.state(now())}; make one by xooai keys new"
            )
        if overlap is None:
            entries[index] = replace(old, revoked=now())
        else:
            until = now() + overlap
            entries[index] = replace(old, expires=until if old.expires is None else min(until, old.expires))
        kept = replace(old, id=given.id, hash=mac(given, found.salt), made=now(), expires=_ends(expires))
        entries.append(kept)
    _tell(given, text)


def _check(tenant: str, scopes: Sequence[str]) -> None:
    if re.fullmatch(TENANT, tenant) is None:
        raise InvalidArgument(f"--tenant {tenant!r} is no name; it takes letters, digits and _.@- (at most 128)")
    for scope in scopes:
        if re.fullmatch(SCOPE, scope) is None:
            raise InvalidArgument(f"--scope {scope!r} is no scope; it looks like reader/read, reader/* or *")


def _limits(entry: Entry) -> str:
    told = [f"{entry.limit} at a time"] if entry.limit is not None else []
    told += [f"{entry.rate:g}/s"] if entry.rate is not None else []
    told += [f"{entry.bandwidth:,.0f} B/s"] if entry.bandwidth is not None else []
    told += [f"priority {entry.priority}"] if entry.priority else []
    return ", ".join(told)


def _ends(expires: timedelta | None) -> datetime | None:
    return None if expires is None else now() + expires


def _found(entries: Sequence[Entry], id: str, path: Path) -> int:
    for index, entry in enumerate(entries):
        if entry.id == id:
            return index
    raise NotFound(f"no key {id!r} in {str(path)!r}; xooai keys list shows all")


def _shown(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M")


def _tell(given: Given, text: str) -> None:
    """The secret on stdout alone, so that it can go into a file; what a person wants to know beside it."""
    click.echo(
        f"the key {given.id}, which is shown this once; a caller sends this line as the header Authorization:", err=True
    )
    click.echo(f"Bearer {text}")
