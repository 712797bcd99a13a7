"""The store that every server has itself, `store:xooai`: large contents come to it and leave it by calls of their own."""

from xooai.embedded.keeper import Keeper

__all__ = ["Keeper"]
