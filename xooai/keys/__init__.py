"""Who may call: API keys and certificates with what they may do, read from a file that is changed while a server runs."""

from xooai.keys.keyring import Keyring

__all__ = ["Keyring"]
