"""One self-contained HTML page: nothing is fetched, and no script or style runs but those that are in it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Iterator
from typing import Any

escape = html.escape


def asset(name: str) -> str:
    """A style sheet or a script of this package."""
    from importlib import resources

    return resources.files("lmgen.pages").joinpath(name).read_text("utf-8")


def document(title: str, body: Iterable[str], style: str, script: str = "", data: Any = None) -> Iterator[str]:
    """A page in parts: `body` is HTML, `data` the JSON that the script finds in the element `data`.

    The Content-Security-Policy allows this style and this script by their hashes and nothing else, so that a text that became
    markup by mistake could do nothing.
    """
    policy = f"default-src 'none'; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    policy += f"; script-src '{_hash(script)}'" if script else ""
    yield f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
"""
    yield from body
    if script:
        yield f'<script type="application/json" id="data">{_json(data)}</script>\n<script>{script}</script>\n'
    yield "</body>\n</html>\n"


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _json(data: Any) -> str:
    """JSON that ends no element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
