"""YAML as plain values, each with its line: no tags, no classes, and nothing that grows beyond what is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NoReturn

from xooai import optional
from xooai.config import scalars
from xooai.errors import InvalidArgument, NotFound, PermissionDenied, too_large

__all__ = ["DEEPEST", "LARGEST", "NODES", "Written", "read", "read_file"]

LARGEST = 1024 * 1024  # bytes of a file: a Flow of 1,000 nodes has some 100 KiB
DEEPEST = 50  # collections in one another: a Flow in a Flow takes four, and what is nested is walked by recursion
NODES = 100_000  # values in a file, each alias counted as what it stands for: some MiB in memory
EXTRA = "yaml"
"""The extra that brings the parser."""

_Place = tuple[str | int, ...]


class Written:
    """What a file says: `value`, in dicts, lists, texts, numbers, truth values and None."""

    def __init__(self, value: Any, lines: Mapping[_Place, int], source: str) -> None:
        self.value = value
        self.source = source
        self._lines = lines

    def refuse(self, message: str, place: _Place = ()) -> NoReturn:
        """Raise InvalidArgument with the file and the line of `place`."""
        raise InvalidArgument(f"{self.where(place)}: {message}")

    def where(self, place: _Place = ()) -> str:
        """`flow.yaml, line 7`: of a key its own line, of an item that on which it begins."""
        while place and place not in self._lines:
            place = place[:-1]
        return f"{self.source}, line {self._lines.get(place, 1)}"


def read_file(path: str | PathLike[str]) -> Written:
    """Read a file. Raises InvalidArgument with its line, NotFound, PermissionDenied, ResourceExhausted and PluginError."""
    name = fspath(path)
    if not isinstance(name, str) or "://" in name or "\0" in name:
        raise InvalidArgument(f"{name!r:.200} is no path; what is run is read from a file of this machine alone")
    try:
        if not Path(name).is_file():  # what is none, such as a pipe, may have no end
            raise NotFound(f"there is no file {name!r}")
        with Path(name).open("rb") as file:
            content = file.read(LARGEST + 1)
    except PermissionError as error:
        raise PermissionDenied(f"{name!r} cannot be read: {error.strerror}") from error
    except OSError as error:  # such as a name that no file can have
        raise NotFound(f"{name!r:.200} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise too_large(None, LARGEST, name)
    return read(content, name)


def read(content: bytes, source: str) -> Written:
    """Read YAML; errors name `source` and the line. Raises InvalidArgument and PluginError."""
    yaml = optional.load("yaml", f"{source}", EXTRA)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidArgument(f"{source}, line {line}: this is not UTF-8") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # that in C, where it is built
    try:
        return _Reader(yaml, source).read(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else min(mark.line + 1, len(text.splitlines()))  # the end is on the last one
        raise InvalidArgument(f"{source}, line {line}: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidArgument(f"{source}, line {line}: there is a character that YAML does not take") from None


class _Anchored:
    """What an anchor names, to be written out again where an alias names it."""

    def __init__(self, value: Any, place: _Place, size: int) -> None:
        self.value, self.place, self.size = value, place, size


class _Reader:
    """Makes values of a parser's events, one after the other: what is refused is refused before the rest is looked at."""

    def __init__(self, yaml: Any, source: str) -> None:
        self._yaml, self._source = yaml, source
        self._lines: dict[_Place, int] = {}
        self._anchors: dict[str, _Anchored] = {}
        self._count = 0

    def read(self, events: Iterator[Any]) -> Written:
        yaml = self._yaml
        value: Any = None
        found = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                found += 1
                if found > 1:
                    self._refuse(event, "a second document begins; a file has one")
                value = self._value(next(events), events, ())
        if not found:
            raise InvalidArgument(f"{self._source}, line 1: the file is empty")
        return Written(value, self._lines, self._source)

    def _value(self, event: Any, events: Iterator[Any], place: _Place) -> Any:
        """The value that begins with `event`."""
        yaml = self._yaml
        self._lines.setdefault(place, event.start_mark.line + 1)
        self._grow(event, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        if event.tag is not None:
            self._refuse(event, f"the tag {event.tag[:80]!r}; tags are not taken: write the value itself")
        if len(place) >= DEEPEST:
            self._refuse(event, f"more than {DEEPEST} lists and mappings in one another")
        begun = self._count
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._list(events, place)
        else:
            value = self._dict(events, place)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, place, self._count - begun + 1)
        return value

    def _scalar(self, event: Any) -> Any:
        if not event.implicit[0]:  # quoted, or a block of text
            return event.value
        try:
            return scalars.value_of(event.value)
        except ValueError as error:
            self._refuse(event, str(error))

    def _list(self, events: Iterator[Any], place: _Place) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(events), self._yaml.SequenceEndEvent):
            found.append(self._value(event, events, (*place, len(found))))
        return found

    def _dict(self, events: Iterator[Any], place: _Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(events), self._yaml.MappingEndEvent):
            if not isinstance(event, self._yaml.ScalarEvent):
                self._refuse(event, "a key is a text")
            if event.tag is not None or event.anchor is not None:
                self._refuse(event, f"the key {event.value[:80]!r} has a tag or an anchor; a key is a text alone")
            if event.value in found:
                self._refuse(event, f"the key {event.value[:80]!r} is given twice")
            inside = (*place, event.value)
            self._lines[inside] = event.start_mark.line + 1
            found[event.value] = self._value(next(events), events, inside)
        return found

    def _alias(self, event: Any, place: _Place) -> Any:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:  # none, or one that it stands in itself
            self._refuse(event, f"*{event.anchor[:80]} stands for nothing that is written above it")
        self._grow(event, anchored.size)
        if len(place) + _depth(anchored.value) > DEEPEST:
            self._refuse(event, f"more than {DEEPEST} lists and mappings in one another")
        return _copied(anchored.value)

    def _grow(self, event: Any, count: int) -> None:
        self._count += count
        if self._count > NODES:
            self._refuse(event, f"more than {NODES:,} values, aliases written out")

    def _refuse(self, event: Any, message: str) -> NoReturn:
        raise InvalidArgument(f"{self._source}, line {event.start_mark.line + 1}: {message}")


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0
