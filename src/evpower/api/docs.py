"""The documentation page: Swagger UI from a wheel, which may load only itself."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from starlette.responses import Response

_SCRIPT: Final = "SwaggerUIBundle({url: '/openapi.json', dom_id: '#docs', deepLinking: true});"
_PAGE: Final = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>EvPower API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="docs"><a href="/openapi.json">openapi.json</a></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</body>
</html>
"""
_SCRIPT_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src 'self' data:",
        f"script-src 'self' 'sha256-{_SCRIPT_HASH}'",
        "style-src 'self' 'unsafe-inline'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
ASSETS: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}


def page() -> Response:
    """Returns the page with its own Content-Security-Policy."""
    return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": _CSP})


def asset(name: str) -> Response | None:
    """Returns one of the page's two files; None for any other name."""
    if name not in ASSETS:
        return None
    headers = {"Cache-Control": "public, max-age=86400"}
    return Response(_read(name), media_type=ASSETS[name], headers=headers)


@cache
def _read(name: str) -> bytes:
    return files("fastapi_offline").joinpath("static", name).read_bytes()
