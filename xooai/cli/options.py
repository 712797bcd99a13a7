"""Constructor parameters of executors as options of the command line."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec
from msgspec.structs import replace
from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from xooai.cli.type_names import members, shown
from xooai.cli.values import value_of
from xooai.errors import XooaiError
from xooai.executor import Executor

__all__ = ["Setting", "given", "options", "settings"]

_FROM_EXECUTOR = ("name", "gateway")  # of Executor's own parameters those that a text can give


class Setting(msgspec.Struct, frozen=True):
    """One parameter of a constructor that the command line can give."""

    name: str
    annotation: Any
    required: bool
    default: Any


def settings(cls: type[Executor]) -> list[Setting]:
    """The parameters of a class's constructor, and of its bases' where it passes `**kwargs` on.

    Raises ClickException for one that is required and cannot be given as a text.
    """
    found: dict[str, Setting] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        signature = inspect.signature(base.__init__)  # type: ignore[misc]
        for setting in _of(base, signature):
            found.setdefault(setting.name, setting)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
            break
    return [setting for setting in found.values() if _can_be_given(setting, cls)]


def _of(base: type, signature: inspect.Signature) -> Iterator[Setting]:
    names = list(signature.parameters)[1:]  # without self
    for name in _FROM_EXECUTOR if base is Executor else names:
        parameter = signature.parameters[name]
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            required = parameter.default is parameter.empty
            yield Setting(name, _annotation(base, parameter), required, None if required else parameter.default)


def _annotation(base: type, parameter: inspect.Parameter) -> Any:
    """The annotation; Any where there is none, or where its names exist for type checkers only."""
    if parameter.annotation is parameter.empty:
        return Any
    holder = type("_", (), {"__annotations__": {parameter.name: parameter.annotation}})
    scope = vars(inspect.getmodule(base)) if inspect.getmodule(base) else {}
    try:
        return typing.get_type_hints(holder, globalns=dict(scope), include_extras=True)[parameter.name]
    except (NameError, TypeError, AttributeError):
        return Any


def _can_be_given(setting: Setting, cls: type[Executor]) -> bool:
    try:
        TypeAdapter(setting.annotation)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        if setting.required:
            needed = f"{setting.name}: {shown(setting.annotation)}"
            raise click.ClickException(
                f"{cls.__name__}() needs {needed}, which cannot be given as a text; serve it from Python"
            ) from error
        return False
    return True


class _Validated(click.ParamType):  # type: ignore[type-arg,unused-ignore] # generic from click 8.4 on
    """A text, read by an annotation."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.name = shown(setting.annotation)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value_of(self.setting.annotation, [value], self.setting.name)
        except XooaiError as error:
            self.fail(error.message, param, ctx)


class ConstructorOption(click.Option):
    """The option for one parameter of one executor's constructor."""

    def __init__(self, cls: type[Executor], setting: Setting, flag: str) -> None:
        super().__init__(
            [
                f"{re.sub(r'[^a-z0-9]', '_', f'_{cls._xooai_class_name}'.lower())}__{setting.name}",
                *_spelt(flag, setting),
            ],
            type=click.BOOL if _is_switch(setting) else _Validated(setting),
            required=setting.required,
            metavar=None if _is_switch(setting) else shown(setting.annotation),
            help="" if setting.required else f"[default: {setting.default!r}]",
        )
        self.cls = cls
        self.setting = setting


def _is_switch(setting: Setting) -> bool:
    return members(setting.annotation) == (bool,) and not setting.required


def _spelt(flag: str, setting: Setting) -> list[str]:
    dashed = flag.replace("_", "-")
    return [f"--{dashed}/--no-{dashed}"] if _is_switch(setting) else [f"--{dashed}"]


def options(classes: Mapping[type[Executor], Mapping[str, Any]], taken: Sequence[str]) -> list[ConstructorOption]:
    """One for each parameter of the constructors: `--language` where there is one class, else `--reader.language`.

    The latter too where the command has an option of that name itself (`taken`). What is given beside a class is its default.
    """
    found = []
    for cls, said in classes.items():
        for setting in settings(cls):
            is_free = len(classes) == 1 and f"--{setting.name.replace('_', '-')}" not in taken
            flag = setting.name if is_free else f"{cls._xooai_class_name}.{setting.name}"
            if setting.name in said:
                setting = replace(setting, required=False, default=said[setting.name])  # noqa: PLW2901
            found.append(ConstructorOption(cls, setting, flag))
    return found


def given(ctx: click.Context, cls: type[Executor], values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given for a class's constructor; the rest keeps the defaults of the class."""
    known = [option for option in ctx.command.get_params(ctx) if isinstance(option, ConstructorOption)]
    return {
        option.setting.name: values[str(option.name)]
        for option in known
        if option.cls is cls and ctx.get_parameter_source(str(option.name)) is click.core.ParameterSource.COMMANDLINE
    }
