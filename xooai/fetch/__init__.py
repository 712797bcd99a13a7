"""The guarded fetcher: the only way in which a URL that a stranger sent is read, where the operator switched it on."""

from xooai.fetch.fetched import Fetched
from xooai.fetch.fetching import Probe, check, open, probe
from xooai.fetch.policy import FetchPolicy
from xooai.fetch.switch import SWITCH, switched_on

__all__ = ["SWITCH", "FetchPolicy", "Fetched", "Probe", "check", "open", "probe", "switched_on"]
