"""The page at /docs: Swagger UI over /openapi.json, its scripts and styles served by us, so that it works offline."""

from __future__ import annotations

from pathlib import Path

from xooai.errors import NotFound, PluginError
from xooai.optional import load

__all__ = ["DOCS_HEADERS", "asset", "docs_page"]

# Everything from this server, nothing inline. Swagger UI draws its icons from data: URLs, sets styles from its script
# (which style-src does not touch) and shows a picture that came as a reply from a blob: URL.
DOCS_HEADERS = (
    (
        "content-security-policy",
        (
            "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
            "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),  # browsers without frame-ancestors
    ("referrer-policy", "no-referrer"),
    ("cache-control", "max-age=3600"),
)

# Relative URLs: the application may be mounted under any path.
_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>xooai</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<script src="docs/swagger-ui-bundle.js" defer></script>
<script src="docs/start.js" defer></script>
</head>
<body><div id="swagger-ui"></div></body>
</html>
"""
_START = b"""window.ui = SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
  onComplete: () => { document.title = window.ui.specSelectors.info().get("title"); },
});
"""
_TYPES = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_OLDEST = 5  # the first Swagger UI that reads OpenAPI 3.1


def docs_page() -> tuple[str, bytes]:
    """Media type and content of the page. PluginError where its assets are not installed."""
    _folder()
    return "text/html; charset=utf-8", _PAGE


def asset(name: str) -> tuple[str, bytes]:
    """Media type and content of what the page loads: NotFound for any other name."""
    if name == "start.js":
        return "text/javascript; charset=utf-8", _START
    if name not in _TYPES:
        raise NotFound(f"no file {name!r} in /docs; there are: {', '.join(['start.js', *_TYPES])}")
    return _TYPES[name], (_folder() / name).read_bytes()


def _folder() -> Path:
    # The older 'swagger-ui-bundle' has a module of this name, too: where both are installed, the last one won.
    folder: Path = load("swagger_ui_bundle", "/docs", "http").swagger_ui_path
    version = folder.name.removeprefix("swagger-ui-")
    if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < _OLDEST:
        raise PluginError(
            f"/docs needs Swagger UI {_OLDEST} or later, swagger_ui_bundle has {version}; "
            "try: pip install --force-reinstall swagger-ui-bundle-v2"
        )
    return folder
