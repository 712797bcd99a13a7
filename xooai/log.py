"""Our own log: records that are clean before anybody's handler writes them, so that no text of others forges a line.

Each of our loggers has a filter, since a program that embeds us formats records in its own way. A tool that takes the
exception itself apart (`record.exc_info`) sees what was raised.
"""

from __future__ import annotations

import logging
import re
from textwrap import indent
from time import monotonic
from typing import Any

from xooai.redact import redact
from xooai.timed import handled

__all__ = ["Seldom", "identified", "logger", "message_of", "one_line", "printable", "shown", "traceback_of"]

LONGEST = 2_000  # characters of one message: what a client wrote into it must not fill the disk
PERIOD = 60.0  # seconds between two records of one kind that strangers can cause at any rate: 1,440 a day fill no disk
DEEPEST = 20_000  # characters of one traceback, whose end tells most
# Patterns as texts, which `re` compiles once a record is written: a start writes none.
# Control characters, those that reorder or break lines, and halves of others that no file takes: a peer's text must not move the
# cursor or forge a line.
_UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
# A longer scheme is found from so much before its end; without a bound a long word would be searched from each letter.
_URL = r"[A-Za-z][A-Za-z0-9+.-]{1,40}://[^\s'\"<>]+"
_HEADER = (  # up to the end of the text or the line: a cookie has several parts, and a scheme of authorization is any word
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s*[:=]\s*(?:b?['\"])?|['\"],\s*b?['\"])[^\n'\"]+"
)
_NAMES = "api[-_]?key|access[-_]?key|account[-_]?key|private[-_]?key|token|secret|credentials?|passw(?:or)?d|passphrase|signature"
_NAMED = (  # the name may be longer, such as aws_secret_access_key and X-Amz-Security-Token: by so much that it is found soon
    rf"(?i)((?<![\w-])(?:[\w-]{{0,40}}?(?:{_NAMES})[\w-]{{0,20}}|sig)['\"]?|['\"](?:key|sas)['\"])(\s*[:=]\s*)"
    r"(?:b?\"[^\"\n]*\"|b?'[^'\n]*'|['\"]?[^\s'\",;&]+)"
)
_KNOWN = r"\b(?:xo_[A-Za-z0-9_]{4,}|(?:AKIA|ASIA)[A-Z0-9]{12,})[A-Za-z0-9_.-]*|(?i:\b(bearer|basic))\s+[A-Za-z0-9._~+/=-]{8,}"
"""What is a secret wherever it stands: keys of ours, those of AWS, and what follows a scheme of authorization."""

_FORMATTER = logging.Formatter()


def logger(name: str) -> logging.Logger:
    """The logger of this name, whose records are cleaned."""
    found = logging.getLogger(name)
    if _clean not in found.filters:
        found.addFilter(_clean)
    return found


class Seldom:
    """Tells one kind of thing once a minute at most, and then how often it was: for what strangers can cause at any rate."""

    def __init__(self, log: logging.Logger, level: int) -> None:
        self._log, self._level = log, level
        self._told = -PERIOD  # monotonic seconds
        self._untold = 0

    def tell(self, text: str, *args: object) -> None:
        """Write a record, now or never."""
        now = monotonic()
        if now - self._told < PERIOD:
            self._untold += 1
            return
        if self._untold:
            text, args = text + "; %d more like it came before", (*args, self._untold)
        self._told, self._untold = now, 0
        self._log.log(self._level, text, *args)


def printable(text: str) -> str:
    """The text with control characters escaped; lines and tabs stay."""
    return re.sub(_UNSAFE, lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text as one line."""
    return printable(" ".join(text.split()))


def _without_secrets(text: str) -> str:
    """The text without passwords, keys and tokens: in URLs, behind a name that says what they are, and known by themselves."""
    text = re.sub(_URL, lambda found: redact(found[0]), text)
    text = re.sub(_NAMED, r"\1\2***", re.sub(_HEADER, r"\1\2***", text))
    return re.sub(_KNOWN, lambda found: f"{found[1]} ***" if found[1] else "***", text)


def shown(text: str, longest: int) -> str:
    """A text of others as it may be written down: one line without secrets, of at most so many characters and three points."""
    whole = len(text)
    if (
        whole > 4 * longest
    ):  # what cannot be shown is not searched; a word that is cut may be a secret that is not known for one
        text = text[: 4 * longest]
        text = text[:-500] + re.sub(r"(?<!\S)\S+\Z", "", text[-500:])
    text = one_line(_without_secrets(text))
    return text if len(text) <= longest and whole <= 4 * longest else f"{text[:longest]}..."


def identified(record: logging.LogRecord) -> bool:
    """A filter for handlers: gives each record `request_id` and `trace_id`, those of the call in whose handler it is made.

    They are "" elsewhere, and `trace_id` where nobody traces.
    """
    if not hasattr(record, "request_id"):
        call: Any = handled.get()
        record.request_id = "" if call is None else call.id
        record.trace_id = ("" if call is None else call.trace_id) or ""
    return True


def message_of(record: logging.LogRecord) -> str:
    """What a record says, as one line of at most LONGEST characters."""
    return shown(record.getMessage(), LONGEST)


def traceback_of(record: logging.LogRecord) -> str:
    """The traceback of a record, each line indented, so that none passes for a record; "" where there is none."""
    if not record.exc_info:
        return ""
    text = _without_secrets(_FORMATTER.formatException(record.exc_info)[-2 * DEEPEST :])
    return indent(printable(text[-DEEPEST:]), "    ")


def _clean(record: logging.LogRecord) -> bool:
    record.msg, record.args = message_of(record), None
    identified(record)
    if record.exc_info:
        record.exc_text = traceback_of(record)  # what formatters write in place of their own
    return True
