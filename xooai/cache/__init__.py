"""The cache: contents by their signatures, on this machine's disk, shared by all processes of a user."""

from xooai.cache.cache import Cache
from xooai.cache.counts import Counts
from xooai.cache.source import FromStore, Source, checked
from xooai.cache.spool import spooled

__all__ = ["Cache", "Counts", "FromStore", "Source", "checked", "spooled"]
