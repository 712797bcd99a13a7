"""Stores: a directory of this machine, and what object stores and fsspec's filesystems offer."""
