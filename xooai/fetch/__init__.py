"""The guarded fetcher: the only way in which a URL that a stranger sent is read, where the operator switched it on."""

from xooai.fetch.fetched import Fetched
from xooai.fetch.fetching import Probe, open, probe
from xooai.fetch.policy import FetchPolicy

__all__ = ["FetchPolicy", "Fetched", "Probe", "open", "probe"]
