"""The page at /status: what a server does now, drawn in the browser from /status.json by scripts of our own.

They are small, since they draw lines and nothing else, and need no library that would be most of the page. All that a server
tells is shown as text.
"""

from __future__ import annotations

from pathlib import Path

from xooai.errors import NotFound

__all__ = ["STATUS_HEADERS", "status_asset", "status_page"]

# Everything from this server, nothing inline, and nothing but this: no form, no frame, no plug-in.
STATUS_HEADERS = (
    (
        "content-security-policy",
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),  # browsers without frame-ancestors
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-cache"),
)
_FOLDER = Path(__file__).parent
_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_TYPES = {
    "icon.svg": "image/svg+xml",
    "plot.js": _SCRIPT,
    "rates.js": _SCRIPT,
    "status.css": "text/css; charset=utf-8",
    "status.js": _SCRIPT,
}


def status_page() -> tuple[str, bytes]:
    """Media type and content of the page."""
    return _HTML, (_FOLDER / "status.html").read_bytes()


def status_asset(name: str) -> tuple[str, bytes]:
    """Media type and content of what the page loads: NotFound for any other name."""
    if name not in _TYPES:
        raise NotFound(f"no file {name[:200]!r} in /status; there are: {', '.join(_TYPES)}")
    return _TYPES[name], (_FOLDER / name).read_bytes()
