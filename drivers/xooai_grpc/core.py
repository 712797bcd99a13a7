"""gRPC's core, loaded once with the quicker of its two listeners.

A server's connections are served by threads of an engine of the core's own, or by the thread that grpc.aio waits in. The
second spares a call two hand-overs between threads: 8 to 25 % of its CPU. The core decides as it is loaded, by an environment
variable (https://github.com/grpc/grpc/blob/master/doc/environment_variables.md).
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module

__all__ = ["load"]

_VARIABLE = "GRPC_EXPERIMENTS"
_LISTENER = "-event_engine_listener"

_loading = threading.Lock()  # one thread that loads is not to take for the user's what another one has set


def load() -> None:
    """Import grpc. What the user has set, or loaded already, stays as it is."""
    if "grpc" in sys.modules or sys.platform != "linux":  # measured on Linux only
        return
    with _loading:
        if "grpc" in sys.modules or _VARIABLE in os.environ:
            return
        os.environ[_VARIABLE] = _LISTENER
        try:
            import_module("grpc")
        finally:
            # What this process starts from now on gets what it was given itself; what another thread started during the
            # load has the variable too. It may be gone: code of the user's runs meanwhile.
            os.environ.pop(_VARIABLE, None)
