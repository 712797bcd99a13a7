"""The cache: contents by their signatures, on this machine's disk, shared by all processes of a user."""

from xooai.cache.cache import Cache

__all__ = ["Cache"]
