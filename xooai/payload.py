"""Documents on their way: what is done before a frame is written and after it is read (design: payloads).

A local ref never leaves the process: its content goes inline, or to a store where it is large. What a peer's frame brings is
marked. Within a process the marks go beside the frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import ValidationError

from xooai.codec import Codec, invalid
from xooai.combo import ComboDoc
from xooai.doc import Doc, arriving, mark_wire, origin_of
from xooai.driver import MESSAGE_LIMIT
from xooai.endpoint import Endpoint
from xooai.errors import Internal, InvalidArgument
from xooai.lazy import lazy
from xooai.origin import NO_MARKS, AllBut, Handed, Marks, Origin
from xooai.redact import redact
from xooai.schema import Schema
from xooai.walk import documents, has_ref, refs_of_dicts
from xooai.way import Way, leaves, stays

if TYPE_CHECKING:
    from xooai import offload
else:
    offload = lazy("xooai.offload")  # most values hold nothing large

_SMALL = MESSAGE_LIMIT // 8  # of a content, or characters of a text, which a message takes however it is written

SCALARS = frozenset((str, int, float, bool))

__all__ = [
    "SCALARS",
    "all_pass",
    "all_stand",
    "all_stay",
    "estranged",
    "from_here",
    "from_peer",
    "handed",
    "handed_all",
    "hidden",
    "marks_but_own",
    "marks_of",
    "marks_of_reply",
    "passes",
    "refuse_hidden",
    "settled",
    "to_peer",
    "typed",
    "unfit",
]


def typed(schema: Schema, value: Any) -> Any:
    """The value with documents in place of the dicts that stand for them, so that their refs are seen. Raises InvalidArgument."""
    if not has_ref(value):
        return value
    try:
        return schema.validator.validate_python(value)
    except ValidationError as error:
        raise invalid(error) from None


def hidden(schema: Schema, value: Any) -> str | None:
    """A local ref in a dict that stands for a document. Whose it is nobody knows: it may have come from a peer."""
    if not has_ref(value):
        return None
    try:
        found = schema.validator.validate_python(value)
    except ValidationError:
        return None  # is refused anyway
    known = {id(doc) for doc in documents(value)}
    return next((doc.ref for doc in documents(found) if id(doc) not in known and not leaves(doc)), None)


def refuse_hidden(schema: Schema, value: Any) -> None:
    """Raise TypeError for a local ref in a dict that a handler gives for a document: it may be what a peer has sent."""
    ref = hidden(schema, value)
    if ref is not None:
        raise TypeError(
            f"a handler gave a dict with the ref {redact(ref)!r} for a document; "
            "give the document: a file of this machine is only read for one"
        )


async def to_peer(schema: Schema, value: Any, way: Way) -> Any:
    """The value as it may leave this process: small contents of local refs inline, large ones where `way` puts them. Files are
    read off the loop. Raises NotFound for one that is missing, and what putting a content raises.
    """
    if not schema.facts.documents or stays(value, way.room):
        return value
    return await offload.offloaded(value, way)


def marks_of(schema: Schema, value: Any) -> Marks:
    """The refs in a value that came from a peer."""
    if not schema.facts.documents:
        return NO_MARKS
    return {doc.ref: origin for doc in documents(value) if (origin := origin_of(doc)) is not None}


def marks_but_own(value: Any, kind: type[AllBut] = AllBut) -> AllBut:
    """The marks for what a Flow passes on: only what is a document already, and no peer's, is this process's own.

    A ref that plain data names as well is nobody's, since marks go by it: a peer may name a file that a node has among its
    constants.
    """
    known: dict[str | None, Origin] = {}
    own: set[str | None] = set()
    for doc in documents(value):
        origin = origin_of(doc)
        if origin is None:
            own.add(doc.ref)
        else:
            known[doc.ref] = origin
    if own - {None}:
        own.difference_update(refs_of_dicts(value))
    return kind(known, own)


def marks_of_reply(schema: Schema, value: Any, marks: Marks) -> Marks:
    """The marks of a reply, to a call whose arguments had these."""
    if not schema.facts.documents:
        return NO_MARKS
    if type(marks) is Handed and passes(schema.annotation, value):
        return handed(value)
    return marks_but_own(value) if isinstance(marks, AllBut) else marks_of(schema, value)


def passes(annotation: Any, value: Any) -> bool:
    """Whether a value of this process may go as it is where another of this type is wanted: it is a document of this very class,
    which does not change, or some of them in a list.

    Its content is inline, and surely small enough for a message; what is read of a ref is let go with the copy that was read.
    """
    kind = type(value)
    if kind is list:
        inside = get_args(annotation) if get_origin(annotation) is list else ()
        return len(inside) == 1 and all(passes(inside[0], item) for item in value)
    if kind is not annotation or not issubclass(kind, Doc) or kind._own_fields:
        return False
    content = value.value
    return content is not None and value.ref is None and len(content) <= _SMALL


def all_pass(endpoint: Endpoint, arguments: Mapping[str, Any]) -> bool:
    """Whether all arguments may go as they are."""
    parameters = endpoint.parameters
    return all(passes(parameters[name].annotation, value) for name, value in arguments.items())


def all_stand(endpoint: Endpoint, arguments: Mapping[str, Any]) -> bool:
    """Whether all arguments are of the types that are wanted: who hands them on, to be written and read, need not read them."""
    parameters = endpoint.parameters
    for name, value in arguments.items():
        annotation = parameters[name].annotation
        kind = type(value)
        if kind is annotation and (kind in SCALARS or issubclass(kind, ComboDoc)):
            continue
        if not passes(annotation, value):
            return False
    return True


def handed(value: Any) -> Handed:
    """What `passes`, beside a frame that is not read."""
    return Handed.of(_listed(value))


def handed_all(arguments: Mapping[str, Any]) -> Handed:
    """As `handed`, of arguments by name."""
    return Handed.of({name: _listed(value) for name, value in arguments.items()})


def _listed(value: Any) -> Any:
    """What `passes`, in lists of its own: who gets one may change it."""
    return [_listed(item) for item in value] if type(value) is list else value


def all_stay(values: Iterable[Any]) -> bool:
    """Whether values of which `all_stand` holds are such that nobody can change."""
    return not any(type(value) is list or isinstance(value, ComboDoc) for value in values)


def settled(schema: Schema, value: Any) -> Any:
    """As `typed`; the documents that are made of dicts here are a stranger's: they may be what a peer has sent."""
    if not schema.facts.documents or not has_ref(value):
        return value
    return estranged(typed(schema, value), value)


def estranged(made: Any, given: Any) -> Any:
    """What was made of `given`: the documents that were none there are a stranger's."""
    marks, same = marks_but_own(given), {id(doc) for doc in documents(given)}
    for doc in documents(made):
        if origin_of(doc) is None and doc.ref in marks and id(doc) not in same:
            mark_wire(doc)
    return made


def from_peer(schema: Schema, codec: Codec, frame: bytes, origin: Origin) -> Any:
    """Read a peer's frame; its documents are marked. Raises InvalidArgument."""
    if not schema.facts.documents:
        return codec.decode(schema, frame)
    arriving.now = origin
    try:
        return codec.decode(schema, frame)
    finally:
        arriving.now = None


def from_here(schema: Schema, codec: Codec, frame: bytes, marks: Marks) -> Any:
    """Read a frame that this process wrote, with the marks that stood beside it."""
    if type(marks) is Handed and marks.value is not None:
        return marks.value
    value = codec.decode(schema, frame, True)
    if marks:  # by ref, not by place: a validator of the user's may have changed the order
        for doc in documents(value):
            if doc.ref in marks:
                mark_wire(doc, marks[doc.ref])
    return value


def unfit(path: str, error: InvalidArgument) -> Internal:
    """The error for whoever asked, where a reply is not of the type that was promised: the mistake is not theirs."""
    return Internal(f"{path} answered with what it does not return: {error.message}")
