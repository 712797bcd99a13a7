"""Streams in a graph of endpoints: which node reads which stream, and what is refused. Pure: nothing is called here.

A node gives a stream where its endpoint does, or where it is called for each item of one. Each stream has one reader.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from xooai.binding import INPUT, Binding, Rule, bind
from xooai.driver import Shape
from xooai.endpoint import Endpoint, Parameter
from xooai.errors import FlowError

__all__ = ["bind_stream", "check_readers", "incoming_of", "refuse_options", "source_of"]


def refuse_options(
    where: str, endpoint: Endpoint, each: bool, is_optional: bool, join: Callable[..., Any] | None, is_asked: bool
) -> None:
    """Raise FlowError for what cannot be said of a node whose endpoint streams; `is_asked` says that `when=` sees replies."""
    if not endpoint.shape:
        return
    calls = f"{endpoint.owner}.{endpoint.name}"
    if each:
        raise FlowError(f"{where}: each= is for an endpoint with one request and one reply, and {calls} streams")
    if is_optional:
        raise FlowError(f"{where}: optional=True is for a node that gives one reply or none, and {calls} streams")
    if endpoint.incoming and join is not None:
        raise FlowError(
            f"{where}: join= makes one value of replies, and {calls} takes a stream as {endpoint.incoming!r}"
        )
    if endpoint.incoming and is_asked:
        raise FlowError(
            f"{where}: when= is asked once, and {calls} takes a stream; put when= on a node before, or on one that "
            "is called for each item"
        )


def source_of(where: str, endpoint: Endpoint, needs: Sequence[str], streams: Collection[str]) -> str:
    """Which of the needs is a stream that the node reads, `input` for that of the Flow's caller, "" for none.

    `streams` are the ids of nodes that give one. Raises FlowError.
    """
    found = [need for need in needs if need in streams]
    calls = f"{endpoint.owner}.{endpoint.name}"
    if len(found) > 1:
        raise FlowError(
            f"{where}: {found[0]} and {found[1]} both give a stream, and a node reads one; a node that takes a stream and "
            "gives one reply ends it"
        )
    if found and endpoint.shape is Shape.SERVER:
        raise FlowError(
            f"{where}: {calls} would give a stream for each item of that of {found[0]}; behind a stream stand endpoints "
            "that take one, or that give one reply"
        )
    if found or not endpoint.incoming:
        return found[0] if found else ""
    if not needs or INPUT in needs:
        return INPUT
    raise FlowError(
        f"{where}: {calls} takes a stream as {endpoint.incoming!r}, and none of what the node needs gives one: "
        f"{', '.join(map(repr, needs))}"
    )


def bind_stream(
    where: str, id: str, endpoint: Endpoint, needs: Sequence[str], args: Mapping[str, Any], source: str
) -> Binding:
    """How a node gets its arguments whose endpoint takes the stream `source`; that itself is not among them. Raises FlowError."""
    if endpoint.incoming in args:
        raise FlowError(f"{where}: args={{{endpoint.incoming!r}: ...}}: that is a stream, and a constant is none")
    others = [need for need in needs if need != source]
    if others:
        return bind(id, endpoint, others, args, has_join=False)
    if source == INPUT:
        return bind(id, endpoint, (), args, has_join=False)
    bind(id, endpoint, (), args, has_join=False)  # its constants
    missing = [one.name for one in endpoint.parameters.values() if one.required and one.name not in args]
    if missing:
        raise FlowError(
            f"{where}: nothing goes to {missing[0]!r}, which {endpoint.owner}.{endpoint.name} needs beside its stream; "
            f"name a need {missing[0]!r}, or give args={{{missing[0]!r}: ...}}"
        )
    return Binding(Rule.NAMES)


def check_readers(streams: Sequence[str], followers: Mapping[str, Sequence[str]], leaves: Sequence[str]) -> None:
    """Raise FlowError for a stream with several readers, or that is one of several results."""
    for id in streams:
        readers = followers[id]
        if len(readers) > 1:
            raise FlowError(
                f"node {id!r} gives a stream, which has one reader; {', '.join(map(repr, readers))} all need it: let one "
                "node read it, and the others need that one"
            )
        if not readers and len(leaves) > 1:
            others = ", ".join(repr(leaf) for leaf in leaves if leaf != id)
            raise FlowError(
                f"node {id!r} gives a stream, which cannot be one of several results; nobody needs {others} either: "
                "let the node that gives the stream need them, or end it by a node that gives one reply"
            )


def incoming_of(takers: Mapping[str, Endpoint], parameters: Mapping[str, Parameter]) -> Endpoint | None:
    """The endpoint that reads the stream of the Flow's caller, of those that would, by node. Raises FlowError."""
    if len(takers) > 1:
        listed = ", ".join(map(repr, takers))
        raise FlowError(f"the Flow's input is one stream, which has one reader, and {listed} all take it")
    for id, endpoint in takers.items():
        if endpoint.incoming in parameters:
            raise FlowError(
                f"the Flow's input {endpoint.incoming!r} is a stream to {id!r}, and one value to another node; "
                "equal names have equal types"
            )
        return endpoint
    return None
