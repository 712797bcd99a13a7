"""The conformance suite of stores."""

from xooai.testing.stores.abilities import AbilityTests
from xooai.testing.stores.gets import GetTests
from xooai.testing.stores.puts import PutTests
from xooai.testing.stores.wrong import WrongTests

__all__ = ["StoreTests"]


class StoreTests(PutTests, GetTests, WrongTests, AbilityTests):
    """What every store has to do. Subclass it in a test module, under a name that begins with Test, with one fixture:

    class TestAttic(StoreTests):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda: Attic(tmp_path)
    """
