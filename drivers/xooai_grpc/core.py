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

_VARIABLES = {"GRPC_EXPERIMENTS": "-event_engine_listener", "GRPC_VERBOSITY": "NONE"}
"""The second because the core writes lines of its own to stderr of what is raised as an error, too, as a port in use."""

_loading = threading.Lock()  # one thread that loads is not to take for the user's what another one has set


def load() -> None:
    """Import grpc. What the user has set, or loaded already, stays as it is."""
    if "grpc" in sys.modules or sys.platform != "linux":  # measured on Linux only
        return
    with _loading:
        if "grpc" in sys.modules:
            return
        told = {name: value for name, value in _VARIABLES.items() if name not in os.environ}
        if "GRPC_TRACE" in os.environ:  # who asks for traces wants to see them
            told.pop("GRPC_VERBOSITY", None)
        os.environ.update(told)
        try:
            import_module("grpc")
        finally:
            # What this process starts from now on gets what it was given itself; what another thread started during the
            # load has the variables too. They may be gone: code of the user's runs meanwhile.
            for name in told:
                os.environ.pop(name, None)
