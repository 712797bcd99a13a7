"""What a site's executors are in protobuf: their services, described and compiled when they are first asked for."""

from __future__ import annotations

import logging

import msgspec
from google.protobuf.descriptor_pool import DescriptorPool

from xooai.driver import Site
from xooai.proto import File
from xooai_grpc.descriptors import added
from xooai_grpc.typed import TypedMethod, messages_of

__all__ = ["Catalogue"]

_LOG = logging.getLogger("xooai.grpc")


class Catalogue:
    """The methods and descriptors of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._methods: dict[str, TypedMethod] | None = None
        self._pool = DescriptorPool()
        self._services: list[str] = []

    def method(self, path: str) -> TypedMethod | None:
        """What is called by a path, that of the endpoint or that of its method in the .proto file."""
        return self._loaded().get(path)

    def services(self) -> tuple[list[str], DescriptorPool]:
        """The names of the services, and the pool with their descriptors."""
        self._loaded()
        return self._services, self._pool

    def _loaded(self) -> dict[str, TypedMethod]:
        if self._methods is None:
            self._methods = {}
            try:
                for file in msgspec.json.decode(self._site.describe("proto"), type=list[File]):
                    self._add(file, self._methods)
            except Exception:  # noqa: BLE001 - a call that cannot be understood is refused, and all others go on
                _LOG.exception("calls by protobuf are refused, as nothing says what their messages are")
        return self._methods

    def _add(self, file: File, methods: dict[str, TypedMethod]) -> None:
        added(file, self._pool)
        self._services.append(f"{file.package}.{file.service}")
        messages = messages_of(file, self._pool)
        for method in file.methods:
            found = TypedMethod(file, method, messages)
            methods[found.path] = methods[found.full_path] = found
