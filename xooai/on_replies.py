"""Functions over replies, as `join=` and `when=` take them: which reply goes to which of their parameters."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from xooai.errors import FlowError
from xooai.streamed import UNTOLD

__all__ = ["OnReplies", "on_replies"]


class OnReplies(msgspec.Struct, frozen=True):
    """A function that is called with replies: by the ids that its parameters are named as, or in the order of the needs."""

    function: Callable[..., Any]
    names: Sequence[str]
    by_name: bool

    def arguments(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments by place and by name; None stands for what is not there."""
        if self.by_name:
            return [], {name: values.get(name) for name in self.names}
        return [values.get(name) for name in self.names], {}

    @property
    def returns(self) -> Any:
        """What its annotation says that it returns."""
        try:
            return typing.get_type_hints(self.function, include_extras=True).get("return", UNTOLD)
        except (AttributeError, NameError, SyntaxError, TypeError):  # none, or one that cannot be read
            return UNTOLD


def on_replies(function: Any, names: Sequence[str], where: str) -> OnReplies:
    """`function` over what is called `names`. Raises FlowError for one that cannot be called so; `where` says whose it is.

    Where a parameter is named as one of them, all that need a value have to be: else one would get another's reply.
    """
    if not callable(function):
        raise FlowError(f"{where} takes a function of the replies, and got {type(function).__name__}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # what is compiled may have none
        return OnReplies(function, tuple(names), by_name=False)
    known = signature.parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in known.values())
    named = [name for name in names if name in known and known[name].kind in _BY_NAME]
    wanted = list(names) if takes_all else named
    if wanted and not _takes_rest(signature, names) and _is_called(signature, (), dict.fromkeys(wanted)):
        return OnReplies(function, tuple(wanted), by_name=True)
    strays = [own for own, given in zip(known, names, strict=False) if own in named and own != given]
    if _is_called(signature, names, {}) and (not named or (_takes_rest(signature, names) and not strays)):
        return OnReplies(function, tuple(names), by_name=False)
    listed = ", ".join(map(repr, names)) or "nothing"
    raise FlowError(
        f"{where} takes ({', '.join(map(str, known.values()))}), and is to be called with {listed}: "
        "name all of its parameters so or none, or give it as many"
    )


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _takes_rest(signature: inspect.Signature, names: Sequence[str]) -> bool:
    """Whether it takes by place what it has no names for: `def join(first, *others)`."""
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds and not set(names) <= set(signature.parameters)


def _is_called(signature: inspect.Signature, places: Sequence[Any], names: Mapping[str, Any]) -> bool:
    try:
        signature.bind(*places, **names)
    except TypeError:
        return False
    return True
