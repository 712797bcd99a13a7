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
    """`function` over what is called `names`. Raises FlowError for one that cannot be called so; `where` says whose it is."""
    if not callable(function):
        raise FlowError(f"{where} takes a function of the replies, and got {type(function).__name__}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # what is compiled may have none
        return OnReplies(function, tuple(names), by_name=False)
    known = signature.parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in known.values())
    wanted = [name for name in names if takes_all or name in known]
    if wanted and _is_called(signature, (), dict.fromkeys(wanted)):
        return OnReplies(function, tuple(wanted), by_name=True)
    if _is_called(signature, names, {}):
        return OnReplies(function, tuple(names), by_name=False)
    listed = ", ".join(map(repr, names)) or "nothing"
    raise FlowError(
        f"{where} takes ({', '.join(map(str, known.values()))}), and is to be called with {listed}: "
        "name its parameters so, or give it as many"
    )


def _is_called(signature: inspect.Signature, places: Sequence[Any], names: Mapping[str, Any]) -> bool:
    try:
        signature.bind(*places, **names)
    except TypeError:
        return False
    return True
