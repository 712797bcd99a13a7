"""Whether a caller can read the contents that its arguments, or a reply that is kept, name."""

from __future__ import annotations

from contextlib import aclosing

from xooai.codec import Codec
from xooai.contents import cache
from xooai.errors import XooaiError
from xooai.kept import Contents
from xooai.origin import STRANGER
from xooai.payload import from_peer
from xooai.schema import Schema
from xooai.store import Sizes
from xooai.store_ref import EMBEDDED, SCHEME, StoreRef, is_store_ref
from xooai.walk import documents

__all__ = ["are_there", "may_read", "named_in"]


async def may_read(contents: Contents, tenant: str, ref: StoreRef) -> bool:
    """Whether a caller may read a content that it names. Nothing is fetched.

    In a store of the operator's who has the name may, and only calls that named it there share its replies.
    """
    if ref.name != EMBEDDED:
        return ref.name in contents.stores
    try:
        await contents.keeper.source(tenant, ref, None)
    except XooaiError:
        return False
    return True


async def are_there(contents: Contents, tenant: str, refs: tuple[StoreRef, ...]) -> bool:
    """Whether a caller can read what a reply names."""
    try:
        for ref in refs:
            if not await _is_there(contents, tenant, ref):
                return False
    except XooaiError:
        return False
    return True


async def _is_there(contents: Contents, tenant: str, ref: StoreRef) -> bool:
    if ref.name == EMBEDDED:
        source = await contents.keeper.source(tenant, ref, None)
        found = await (await cache()).find(source.signature)
        if found is not None:
            found.close()
        return found is not None
    if ref.name not in contents.stores:
        return True  # it came from a peer, who knows it, and is none of ours
    store = await contents.stores.get(ref.name)
    if isinstance(store, Sizes):
        return await store.size(ref.signature) is not None
    async with aclosing(store.get(ref.signature, 0, 1)) as chunks:
        await anext(chunks, None)
    return True


def named_in(schema: Schema, codec: Codec, frame: bytes) -> tuple[StoreRef, ...]:
    """The contents of stores that a reply names. Raises InvalidArgument."""
    if SCHEME.encode() not in frame:
        return ()
    value = from_peer(schema, codec, frame, STRANGER)
    return tuple(StoreRef.of(str(doc.ref)) for doc in documents(value) if is_store_ref(doc.ref))
