"""The conformance suite of drivers."""

from xooai.testing.suite.answers import AnswerTests
from xooai.testing.suite.draining import DrainingTests
from xooai.testing.suite.failures import FailureTests
from xooai.testing.suite.leaving import LeavingTests
from xooai.testing.suite.limits import LimitTests
from xooai.testing.suite.program import ProgramTests
from xooai.testing.suite.streams import StreamTests

__all__ = ["DriverTests", "StreamTests"]


class DriverTests(AnswerTests, StreamTests, FailureTests, LimitTests, LeavingTests, DrainingTests, ProgramTests):
    """What every driver has to do. Subclass it in a test module, under a name that begins with Test, and say the `url`:

    class TestTcp(DriverTests):
        url = "tcp://127.0.0.1:0"
    """
