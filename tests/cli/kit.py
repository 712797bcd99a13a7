"""What the tests of the command line serve and call: an endpoint for each kind of argument and reply."""

from __future__ import annotations

import asyncio
import datetime
import enum
import errno
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SecretStr

from xooai import Audio, ComboDoc, Doc, Executor, File, Image, InvalidArgument, Tensor, Text, post

if TYPE_CHECKING:
    from fractions import Fraction

print("this is printed while the module is imported")


class Page(ComboDoc):
    scan: Image
    caption: Text | None = None


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Kit(Executor):
    """Gives back what it gets."""

    @post
    def shout(self, doc: Text, mark: str = "!") -> Text:
        """Say it louder.

        With a mark at the end.
        """
        return Text(value=doc.read().upper() + mark)

    @post
    def echo(self, doc: Image) -> Image:
        return doc

    @post
    def page(self, page: Page) -> Page:
        return page

    @post
    def sizes(self, docs: list[File], more: list[int] = [1]) -> list[int]:  # noqa: B006 - nobody changes it
        return [len(doc.read()) for doc in docs] + more

    @post
    def plain(
        self,
        when: datetime.date,
        colour: Colour = Colour.RED,
        level: Literal["low", "high"] = "low",
        flag: bool | None = None,
        blob: bytes = b"",
        anything: Any = None,
    ) -> dict[str, Any]:
        given = {"when": when.isoformat(), "colour": colour.value, "level": level, "flag": flag, "blob": len(blob)}
        return {**given, "anything": anything}

    @post
    def blob(self, size: int) -> bytes:
        return bytes(size)

    @post
    def total(self, numbers: Tensor) -> float:
        return float(numbers.array().sum())

    @post
    def either(self, doc: Image | Audio) -> str:
        return type(doc).__name__

    @post
    def any_kind(self, doc: Doc) -> str:
        return type(doc).__name__

    @post
    def mixed(self):  # type: ignore[no-untyped-def] # as people write it
        tensor = Tensor(value=bytes(8), dtype="float32", shape=(2,))
        picture = Image(ref="https://me:pass@host/a.png?sig=12")
        rest: dict[str, Any] = {
            "empty": [],
            "no_fields": {},
            "nothing": None,
            "box": [[1, 2], [3, 4.5]],
            "is_sure": True,
        }
        return {"tensor": tensor, "picture": picture, "blob": Page(scan=picture), **rest}

    @post
    def refuse(self, doc: Text) -> Text:
        raise InvalidArgument("no \x1b[31msuch\nxooai: thing\u2028here")

    @post
    def fail(self, doc: Text) -> Text:
        raise RuntimeError(f"{doc.read()} at https://me:pass@host/x?sig=12 with Authorization: Bearer open-sesame")

    @post
    async def wait(self, seconds: float) -> float:
        print("waiting", flush=True)
        await asyncio.sleep(seconds)
        return seconds


UNSAID = SecretStr("unsaid")


class Settings(Executor):
    """Tells how it was made."""

    def __init__(  # type: ignore[no-untyped-def] # one parameter has no annotation, as people write it
        self,
        language: Annotated[str, Field(max_length=5)] = "en",
        *,
        size: int = 3,
        half: bool = False,
        labels: list[str] | None = None,
        token: SecretStr = UNSAID,
        url: str = "",
        anything=None,
        later: Fraction | None = None,
        clock: ModuleType = time,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.made_with = {
            "language": language,
            "size": size,
            "half": half,
            "labels": labels,
            "token": token.get_secret_value(),
            "url": url,
            "anything": anything,
            "later": str(later),
            "clock": clock.__name__,
            "name": self.name,
        }

    @post
    def tell(self) -> dict[str, Any]:
        return self.made_with

    def close(self) -> None:
        print("settings are closed", flush=True)


class Other(Executor):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @post
    def tell(self) -> int:
        return self.size


class Broken(Executor):
    def __init__(self) -> None:
        raise ValueError("the model is missing")


class Unready(Executor):
    @post
    def read(self) -> int:
        return 1

    async def setup(self) -> None:
        raise ValueError("the model does not answer")

    def close(self) -> None:
        print("unready is closed")


class Full(Executor):
    @post
    def read(self) -> int:
        return 1

    async def setup(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class Loading(Executor):
    def __init__(self) -> None:
        print("loading", file=sys.stderr, flush=True)
        time.sleep(60)


class Picky(Executor):
    def __init__(self, clock: ModuleType) -> None:
        super().__init__()


an_instance = Kit()
