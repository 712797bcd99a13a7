"""Our own log: records that are clean before anybody's handler writes them, so that no text of others forges a line.

Each of our loggers has a filter, since a program that embeds us formats records in its own way. A tool that takes the
exception itself apart (`record.exc_info`) sees what was raised.
"""

from __future__ import annotations

import logging
import re
from textwrap import indent

from xooai.redact import redact

__all__ = ["logger", "message_of", "one_line", "printable", "shown", "traceback_of"]

LONGEST = 2_000  # characters of one message: what a client wrote into it must not fill the disk
DEEPEST = 20_000  # characters of one traceback, whose end tells most
# Patterns as texts, which `re` compiles once a record is written: a start writes none.
# Control characters, and those that reorder or break lines: a peer's text must not move the cursor or forge a line.
_UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
_URL = r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+"
_NAMED = (
    r"(?i)\b(authorization|proxy-authorization|cookie|(?:x-)?api[-_]?key|(?:access[-_]?)?token|secret|password|passwd|sig|signature)"
    r"(['\"]?\s*[:=]\s*['\"]?)((?:bearer|basic)\s+)?[^\s'\",;&]+"
)

_FORMATTER = logging.Formatter()


def logger(name: str) -> logging.Logger:
    """The logger of this name, whose records are cleaned."""
    found = logging.getLogger(name)
    if _clean not in found.filters:
        found.addFilter(_clean)
    return found


def printable(text: str) -> str:
    """The text with control characters escaped; lines and tabs stay."""
    return re.sub(_UNSAFE, lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text as one line."""
    return printable(" ".join(text.split()))


def _without_secrets(text: str) -> str:
    """The text without passwords, keys and tokens: in URLs, and behind a name that says what they are."""
    return re.sub(_NAMED, r"\1\2***", re.sub(_URL, lambda found: redact(found[0]), text))


def shown(text: str, longest: int) -> str:
    """A text of others as it may be written down: one line without secrets, of at most so many characters."""
    text = one_line(_without_secrets(text[: 2 * longest]))
    return text if len(text) <= longest else f"{text[:longest]}..."


def message_of(record: logging.LogRecord) -> str:
    """What a record says, as one line of at most LONGEST characters."""
    text = one_line(_without_secrets(record.getMessage()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def traceback_of(record: logging.LogRecord) -> str:
    """The traceback of a record, each line indented, so that none passes for a record; "" where there is none."""
    if not record.exc_info:
        return ""
    return indent(printable(_without_secrets(_FORMATTER.formatException(record.exc_info)[-DEEPEST:])), "    ")


def _clean(record: logging.LogRecord) -> bool:
    record.msg, record.args = message_of(record), None
    if record.exc_info:
        record.exc_text = traceback_of(record)  # what formatters write in place of their own
    return True
