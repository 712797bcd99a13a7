"""An executor whose handlers write into the log."""

from __future__ import annotations

import logging

from xooai import Executor, post

LOG = logging.getLogger("mine")


class Logs(Executor):
    @post
    def say(self) -> str:
        LOG.warning("from a handler")
        return "said"

    @post
    def fail(self) -> str:
        raise RuntimeError("it fails with Authorization: Bearer open-sesame")
