"""The log of a server on stderr, as text or JSON: clients cannot forge lines in it, and secrets are left out."""

from __future__ import annotations

import json
import logging
import sys
import time
from functools import lru_cache
from io import UnsupportedOperation
from textwrap import dedent
from typing import Any

import msgspec

from xooai.cli.log_writer import LogWriter
from xooai.log import identified, message_of, traceback_of

__all__ = ["LEVELS", "configure", "record"]

LEVELS = ("debug", "info", "warning", "error")
_OF_CALLS = ("xooai.calls", "xooai.access")  # a line for each call, and each request: costs what calls cost


def configure(form: str, level: str = "warning", has_calls: bool = False) -> None:
    """Write the log as `form` (text or json), from `level` on, unless a served module has set logging up already.

    With `has_calls` there is a record of each call, whatever the level is; else of none.
    """
    handler = _handler()
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(identified)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in _OF_CALLS:
        found = logging.getLogger(name)
        if found.level == logging.NOTSET:  # else a served module has said what it wants of it
            found.setLevel(logging.WARNING)
    if has_calls:
        logging.getLogger(_OF_CALLS[0]).setLevel(logging.INFO)


def record(message: str, **fields: Any) -> str:
    """A line of JSON as the log has it, which tells what is no record of it: the banner."""
    entry = {"time": _time(time.time()), "level": "INFO", "logger": "xooai", "message": message}
    return json.dumps(entry | fields)


def _handler() -> logging.Handler:
    try:
        return LogWriter(sys.stderr.fileno())
    except (AttributeError, OSError, UnsupportedOperation):  # there is none, or it is no file
        return logging.StreamHandler()


def _fields(record: logging.LogRecord) -> dict[str, Any] | None:
    """What is told of a call, where this is its record: clean as it is."""
    return getattr(record, "fields", None) if record.name == _OF_CALLS[0] else None


@lru_cache(maxsize=2)  # this second and the one before
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _time(seconds: float) -> str:
    second, part = divmod(seconds, 1)
    return f"{_utc(int(second))}.{int(part * 1000):03}Z"


class _Text(logging.Formatter):
    """`10:32:05 ERROR xooai [id]: what happened`, and a traceback indented below it; the id is that of a call."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        id = getattr(record, "request_id", "")
        text = message_of(record) if _fields(record) is None else record.msg
        line = f"{at} {record.levelname} {record.name}{f' [{id}]' if id else ''}: {text}"
        below = traceback_of(record)
        return f"{line}\n{below}" if below else line


class _Json(logging.Formatter):
    """One object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`; where they are known `request_id`, `trace_id`,
    what is told of a call, and `traceback`.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        entry = {
            "time": f"{_utc(int(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": message_of(record) if fields is None else record.msg,
        }
        for name in ("request_id", "trace_id"):
            if found := getattr(record, name, ""):
                entry[name] = found
        if fields is not None:
            return msgspec.json.encode(entry | fields).decode()
        if below := dedent(traceback_of(record)):
            entry["traceback"] = below
        return json.dumps(entry)  # ASCII: controls and U+2028 are escaped
