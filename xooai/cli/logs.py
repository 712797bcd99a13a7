"""The log of a server on stderr, as text or JSON: clients cannot forge lines in it, and secrets are left out."""

from __future__ import annotations

import json
import logging
import time
from textwrap import dedent

from xooai.log import message_of, traceback_of

__all__ = ["configure"]


def configure(form: str) -> None:
    """Write the log as `form` (text or json), from WARNING on, unless a served module has set logging up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Text(logging.Formatter):
    """`10:32:05 ERROR xooai: what happened`, and a traceback indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{at} {record.levelname} {record.name}: {message_of(record)}"
        below = traceback_of(record)
        return f"{line}\n{below}" if below else line


class _Json(logging.Formatter):
    """One object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{at}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": message_of(record),
        }
        below = dedent(traceback_of(record))
        return json.dumps({**entry, "traceback": below} if below else entry)  # ASCII: controls and U+2028 are escaped
