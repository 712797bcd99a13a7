"""The model of the batching benchmarks: 5 ms for a batch and 0.2 ms for each item in it, as an accelerator takes them."""

import time
from collections.abc import Sequence

BATCH, WAIT = 32, 0.005  # items; seconds
WHOLE, EACH = 0.005, 0.0002  # seconds


def run(items: Sequence[int]) -> list[int]:
    """Double each item. The thread waits, as it does for a device."""
    time.sleep(WHOLE + EACH * len(items))
    return [2 * item for item in items]
