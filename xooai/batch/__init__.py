"""Calls of many, answered together: items are gathered into batches, and a handler is called with each."""

from xooai.batch.service import BatchCall, batched

__all__ = ["BatchCall", "batched"]
