"""The documentation page: Swagger UI, allowed to load only what it needs."""

import base64
import hashlib
from typing import Final

from starlette.responses import Response

_ASSETS: Final = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.18.2"
_SCRIPT: Final = "SwaggerUIBundle({url: '/openapi.json', dom_id: '#docs', deepLinking: true});"
_PAGE: Final = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>EvPower API</title>
<link rel="stylesheet" href="{_ASSETS}/swagger-ui.css">
</head>
<body>
<div id="docs"><a href="/openapi.json">openapi.json</a></div>
<script src="{_ASSETS}/swagger-ui-bundle.js"></script>
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
        f"script-src {_ASSETS}/swagger-ui-bundle.js 'sha256-{_SCRIPT_HASH}'",
        f"style-src {_ASSETS}/swagger-ui.css 'unsafe-inline'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)


def page() -> Response:
    """The page with its own Content-Security-Policy."""
    return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": _CSP})
