"""Endpoints: a function's signature, read once into its shape and schemas."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

import msgspec
from msgspec.structs import replace
from typing_extensions import TypedDict

from xooai.doc import Doc
from xooai.driver import Shape
from xooai.errors import InvalidArgument
from xooai.hints import nearest
from xooai.lazy import lazy
from xooai.schema import Schema, Settled
from xooai.streamed import UNTOLD, reply_of, request_of, shape_of
from xooai.untyped import ANYTHING, untyped

if TYPE_CHECKING:
    from xooai import batching
    from xooai.batching import Batch
else:
    batching = lazy("xooai.batching")

__all__ = [
    "DICT",
    "INTEGER_KEY",
    "RESERVED",
    "Endpoint",
    "Parameter",
    "arguments",
]

RESERVED = frozenset({"on", "timeout", "metadata", "codec"})
"""Names of parameters that every call has already."""

INTEGER_KEY = "^-?[0-9]+$"
"""In a description the pattern of an object's names that stand for integers."""

DICT = "x-xooai-dict"
"""In a description: an object is a dict to Python, though its names are known; they may be any texts."""

_SAYS = {
    Shape.UNARY: "one request and one reply",
    Shape.CLIENT: "a stream of requests and one reply",
    Shape.SERVER: "one request and a stream of replies",
    Shape.BIDI: "a stream each way",
}


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of an endpoint. `default` counts where it is not `required`."""

    name: str
    annotation: Any
    required: bool
    default: Any = None

    @property
    def members(self) -> list[Any]:
        """The types of which a value may be: those of a union, or the one."""
        return _members(self.annotation)

    @property
    def documents(self) -> list[type[Doc]]:
        """The kinds of documents that this parameter takes: several where it is a union of them."""
        return [kind for kind in self.members if isinstance(kind, type) and issubclass(kind, Doc)]

    @property
    def document(self) -> type[Doc] | None:
        """The kind of document that this parameter takes, where it is one (or optional)."""
        kinds = self.documents
        return kinds[0] if len(kinds) == 1 else None

    @property
    def many(self) -> Parameter:
        """The same for a list of such values."""
        return Parameter(self.name, list[self.annotation], True)  # type: ignore[name-defined]

    @property
    def item(self) -> Parameter | None:
        """What the items of this parameter are, where it is a list (or optional)."""
        lists = [kind for kind in self.members if typing.get_origin(kind) is list]
        return Parameter(f"{self.name}[]", typing.get_args(lists[0])[0], True) if len(lists) == 1 else None


def _members(annotation: Any) -> list[Any]:
    """The types of which a value may be: those of a union, those inside of containers aside."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _members(members[0])
    if origin in (typing.Union, UnionType):
        return [kind for member in members for kind in _members(member)]
    return [annotation]


class Endpoint(msgspec.Struct):
    """A typed function from documents to documents, wherever it runs."""

    name: str
    owner: str
    parameters: Mapping[str, Parameter]
    arguments: Schema
    result: Schema
    shape: Shape = Shape.UNARY
    is_async: bool = False
    summary: str = ""
    order: Sequence[str] = ()
    _parts: dict[str, Schema] = {}
    medium: Parameter | None = None
    """The parameter that a body of one medium, such as a picture's bytes, stands for: found here, not given."""
    incoming: str = ""
    """The parameter that is a stream, "" where there is none; it is not among `parameters`, and in `order`."""
    items: Schema | None = None
    """What that stream holds. Where the replies are one, `result` is what each of them is."""
    gives_stream: bool = False
    """Whether the replies are a stream: found here, not given. To ask the shape's flags costs as much as an item."""
    cache: float | None = None
    """Seconds for which a server keeps replies; None where it keeps none."""
    idempotent: bool = False
    """Whether a call may run twice, as if it had run once."""
    warmup: tuple[Any, ...] = ()
    """Examples that run before a server is ready: the value of the one parameter that is needed, or mappings of arguments."""
    batch: Batch | None = None
    """How calls are gathered for one run of the method; None where each runs by itself."""
    limit: int | None = None
    """How many calls of it run at a time on a server, and how many wait; None where it was not said."""
    queue: int | None = None
    many: Endpoint | None = None
    """The same endpoint for a list of items in the place of one, and of replies: made here, where there are batches."""

    def __post_init__(self) -> None:
        self.gives_stream = bool(self.shape & Shape.SERVER)
        documents = [parameter for parameter in self.parameters.values() if parameter.documents]
        needed = [parameter for parameter in self.parameters.values() if parameter.required]
        found = needed or documents
        if len(found) == 1 and found[0].documents:
            self.medium = found[0]
        if self.batch is not None and self.many is None:
            self.many = self._of_many(self.batch.parameter)

    def _of_many(self, name: str) -> Endpoint:
        parameters = {**self.parameters, name: self.parameters[name].many}
        where = f"{self.owner}.{self.name}"
        reply = self.result.annotation
        result = untyped() if reply is ANYTHING else Schema(list[reply], f"{where} -> ")  # type: ignore[valid-type]
        return Endpoint(
            name=self.name,
            owner=self.owner,
            parameters=parameters,
            arguments=Schema(arguments(where, parameters), where),
            result=result,
            is_async=self.is_async,
            summary=self.summary,
            order=self.order,
            cache=self.cache,
            idempotent=self.idempotent,
        )

    def for_(self, given: Mapping[str, Any]) -> Endpoint:
        """This endpoint, or where the given arguments hold a list of items for one that takes batches, that for many."""
        if self.many is None or self.batch is None or not isinstance(given.get(self.batch.parameter), list | tuple):
            return self
        return self.many

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        owner: str,
        name: str,
        namespace: Mapping[str, Any] | None = None,
        bind: Callable[[Any], Any] = lambda annotation: annotation,
        streams: bool = False,
        batch: Batch | None = None,
    ) -> Endpoint:
        """Read a method's signature; `bind` puts types in the place of type variables, or raises LookupError.

        Raises TypeError naming the method, NameError where an annotation is not defined yet.
        """
        where = f"{owner}.{function.__name__}"
        if not streams and (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
            raise TypeError(
                f"{where}: an endpoint of @post returns one reply; this method has a yield: mark it @stream"
            )
        try:
            hints = {name: bind(hint) for name, hint in _hints(function, namespace or {}, where).items()}
        except LookupError as error:
            raise TypeError(f"{where}: {error.args[0]}") from None
        request = request_of(function, hints, where) if streams else None
        reply = reply_of(function, hints, where) if streams else None
        if streams and request is None and reply is None:
            raise TypeError(
                f"{where}: nothing streams here: give it -> AsyncIterator[T], or a parameter of that type; or use @post"
            )
        found = dict(_parameters(function, hints, where))
        if batch is not None:
            batch = replace(batch, parameter=_batched(found, hints, where))
        parameters = {key: parameter for key, parameter in found.items() if request is None or key != request[0]}
        result = reply.item if reply is not None else hints.get("return", UNTOLD)
        return cls(
            name=name,
            owner=owner,
            parameters=parameters,
            arguments=Schema(arguments(where, parameters), where),
            result=untyped() if result is UNTOLD else Schema(result, f"{where} -> "),
            shape=shape_of(request, reply),
            is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
            summary=inspect.getdoc(function) or "",
            order=tuple(found),
            incoming="" if request is None else request[0],
            items=None if request is None else _schema_of(request[1].item, f"{where}({request[0]})"),
            batch=batch,
        )

    def misshapen(self, given: Shape) -> InvalidArgument:
        """The error for a call of another shape."""
        way = "stream() or astream()" if self.shape else "post() or apost()"
        return InvalidArgument(f"{self.name} takes {_SAYS[self.shape]}; the call has {_SAYS[given]}: use {way}")

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise InvalidArgument for a parameter that there is not, or one that is missing."""
        if given.keys() == self.parameters.keys():
            return
        for name in given:
            if name == self.incoming:
                raise InvalidArgument(
                    f"{self.name} takes {name!r} as a stream: give it to stream() or astream(), or send its items after open()"
                )
            if name not in self.parameters:
                mistake = {"type": "extra_forbidden", "loc": [name], "msg": "Extra inputs are not permitted"}
                raise self._unknown(name, [mistake])
        missing = [name for name, parameter in self.parameters.items() if parameter.required and name not in given]
        if missing:
            raise InvalidArgument(
                f"{self.name} needs the parameter {missing[0]!r}; it takes: {self._signature()}",
                errors=[{"type": "missing", "loc": [name], "msg": "Field required"} for name in missing],
            )

    def told(self, error: InvalidArgument) -> InvalidArgument:
        """What is wrong with arguments that were sent: of one that there is not, which there are."""
        mistakes = error.details.get("errors", [])
        for mistake in mistakes:
            if mistake["type"] == "extra_forbidden" and len(mistake["loc"]) == 1:
                return self._unknown(str(mistake["loc"][0])[:80], mistakes)
        return error

    def _unknown(self, name: str, mistakes: list[dict[str, Any]]) -> InvalidArgument:
        known = f"{nearest(name, self.parameters)}; it takes: {self._signature()}"
        return InvalidArgument(f"{self.name} has no parameter {name!r}{known}", errors=mistakes)

    def bind(self, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, from a call as Python writes it. Raises TypeError as Python does."""
        if len(positional) > len(self.order):
            raise TypeError(f"{self.name}() takes {len(self.order)} arguments but {len(positional)} were given")
        found = dict(zip(self.order, positional, strict=False))
        twice = found.keys() & named.keys()
        if twice:
            raise TypeError(f"{self.name}() got multiple values for argument {min(twice)!r}")
        return {**found, **named}

    def schema_of(self, parameter: Parameter) -> Schema:
        """The schema of one parameter alone, made when it is first asked for."""
        if parameter.name not in self._parts:
            self._parts[parameter.name] = Schema(parameter.annotation, f"{self.owner}.{self.name}({parameter.name})")
        return self._parts[parameter.name]

    def _signature(self) -> str:
        return (
            ", ".join(
                name if parameter.required else f"{name}={parameter.default!r}"
                for name, parameter in self.parameters.items()
            )
            or "nothing"
        )


def _hints(function: Callable[..., Any], namespace: Mapping[str, Any], where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, localns=dict(namespace), include_extras=True)
    except NameError as error:
        raise NameError(f"{where}: {error}", name=error.name) from None
    except (AttributeError, SyntaxError, TypeError) as error:  # what evaluating the text of an annotation gives
        raise TypeError(f"{where}: an annotation cannot be read: {error}") from error


def _parameters(
    function: Callable[..., Any], hints: Mapping[str, Any], where: str
) -> typing.Iterator[tuple[str, Parameter]]:
    listed = list(inspect.signature(function).parameters.values())
    if not listed or listed[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise TypeError(f"{where}: a method's first parameter is self")
    for parameter in listed[1:]:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(
                f"{where}: the parameter {str(parameter).partition(':')[0]!r} cannot be given by name; "
                "an endpoint's parameters are all named"
            )
        if name in RESERVED:
            raise TypeError(
                f"{where}: the parameter name {name!r} is taken by every call's own ({', '.join(sorted(RESERVED))}); take another"
            )
        if name not in hints:
            raise TypeError(
                f"{where}: the parameter {name!r} has no annotation; give it a document or a type that pydantic validates"
            )
        required = parameter.default is parameter.empty
        yield name, Parameter(name, hints[name], required, None if required else parameter.default)


def _batched(found: dict[str, Parameter], hints: dict[str, Any], where: str) -> str:
    """Put what one caller gives, and gets, in the place of batches; return the name of the parameter. Raises TypeError."""
    first = next(iter(found.values()), None)
    if first is None:
        raise TypeError(f"{where}: with batch_size= the first parameter takes a batch: doc: list[T]")
    item = batching.item_of(first.annotation, where, first.name, first.required)
    found[first.name] = Parameter(first.name, item, required=True)
    hints["return"] = batching.reply_item_of(hints.get("return", UNTOLD), where)
    return first.name


def arguments(where: str, parameters: Mapping[str, Parameter]) -> Any:
    """The body of a call: an object keyed by parameter name that takes nothing else."""
    fields = {
        name: Annotated[parameter.annotation, Settled]
        if parameter.required
        else NotRequired[Annotated[parameter.annotation, Settled]]
        for name, parameter in parameters.items()
    }
    body = TypedDict(where.replace(".", "_"), fields)  # type: ignore[misc]
    setattr(body, "__pydantic_config__", {"extra": "forbid"})  # noqa: B010 - pydantic's own way to configure a TypedDict
    return body


def _schema_of(item: Any, where: str) -> Schema:
    return untyped() if item is UNTOLD else Schema(item, where)
