"""What cannot be served by workers is refused before any is started, and one line says what would be right."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from isolated_program import Front, Model

from xooai import Flow, InvalidArgument, serve

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="workers need sockets and signals that Windows does not have"
)

AT = "http://127.0.0.1:0"


def flow() -> Flow:
    made = Flow(name="reading")
    made.add(use=Front, on="pid", id="pid")
    return made


class Filled(Flow):
    """With nodes of its own, unlike its base."""

    def __init__(self) -> None:
        super().__init__(name="filled")
        self.add(use=Front, on="pid", id="pid")


REFUSED: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "the class Flow": (
        (Flow,),
        {"workers": 2},
        "got the class Flow, of which each worker would make one without nodes",
    ),
    "the class Flow by devices": ((Front, Flow), {"devices": ["0"]}, r"give the Flow itself: Flow\.load\(path\)"),
    "the class Flow isolated": ((Flow,), {"isolated": True}, "got the class Flow"),
    "a class twice": ((Front, Front), {"workers": 2}, "two executors are called 'front'"),
    "a name twice": ((Front(name="model"), Model()), {"workers": 2}, "two executors are called 'model'"),
    "a Flow isolated": ((flow(),), {"isolated": True}, "and only a Flow is given"),
    "a class of Flow isolated": ((Filled,), {"isolated": True}, "and only a Flow is given"),
    "a Flow among isolated": ((flow(), Front), {"isolated": True}, "name some of: front"),
    "a Flow isolated by name": ((flow(), Front), {"isolated": "reading"}, "names no executor; there are: front"),
    "isolated by class": ((Front,), {"isolated": [Front]}, "is neither True nor names of executors; there are: front"),
    "isolated by number": ((Front,), {"isolated": 1}, "isolated=1 is neither True nor names"),
    "no device": ((Front,), {"devices": ""}, "names no devices"),
    "workers as text": ((Front,), {"workers": "2"}, "workers='2' is no number of processes"),
    "no executor": ((3,), {"workers": 2}, "or classes of them; 3 is none of these"),
    "another class": ((dict,), {"isolated": True}, "<class 'dict'> is none of these"),
    "a URL": ((Front, AT), {}, "'http://127.0.0.1:0' is none of these; URLs are given by at="),
}


@pytest.mark.parametrize(("given", "said", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_before_any_worker_starts(
    given: tuple[Any, ...], said: dict[str, Any], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        serve(*given, at=AT, **said)

    assert re.search(told, caught.value.message)
    assert "\n" not in caught.value.message
    assert "loads" not in capfd.readouterr().err
