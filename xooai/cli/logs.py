"""The log of a server on stderr, as text or JSON: clients cannot forge lines in it, and secrets are left out."""

from __future__ import annotations

import json
import logging
import re
import time
from textwrap import indent

from xooai.cli.terminal import one_line, printable
from xooai.redact import redact

__all__ = ["configure"]

LONGEST = 2_000  # characters of one message: what a client wrote into it must not fill the disk
DEEPEST = 20_000  # characters of one traceback, whose end tells most
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")
_SECRET = re.compile(
    r"(?i)\b(authorization|proxy-authorization|cookie|(?:x-)?api[-_]?key|(?:access[-_]?)?token|secret|password|passwd|sig|signature)"
    r"(['\"]?\s*[:=]\s*['\"]?)((?:bearer|basic)\s+)?[^\s'\",;&]+"
)


def configure(form: str) -> None:
    """Write the log as `form` (text or json), from WARNING on, unless a served module has set logging up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _without_secrets(text: str) -> str:
    return _SECRET.sub(r"\1\2***", _URL.sub(lambda found: redact(found[0]), text))


class _Text(logging.Formatter):
    """`10:32:05 ERROR xooai: what happened`, and a traceback indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{at} {record.levelname} {record.name}: {_message(record)}"
        below = self._traceback(record)
        return f"{line}\n{indent(printable(below), '    ')}" if below else line

    def _traceback(self, record: logging.LogRecord) -> str:
        return _without_secrets(self.formatException(record.exc_info)[-DEEPEST:]) if record.exc_info else ""


class _Json(_Text):
    """One object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{at}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        below = self._traceback(record)
        return json.dumps({**entry, "traceback": below} if below else entry)  # ASCII: controls and U+2028 are escaped


def _message(record: logging.LogRecord) -> str:
    text = one_line(_without_secrets(record.getMessage()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
