"""The files that the browser gets, and the template of pages with room for the policy's nonce."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from jinja2 import BaseLoader, Environment
from nicegui import client as nicegui_client

PREFIX = "/dashboard"
STATIC_FILES = Path(__file__).with_name("static")
PUBLIC = ("style.css", "early.js")
"""Files that the page for signing in needs as well; nothing in them is secret."""
STAMP = hashlib.sha256(b"".join((STATIC_FILES / name).read_bytes() for name in PUBLIC)).hexdigest()[
    :12
]
"""Changes with the files, so that browsers may keep them."""

HEAD = (
    f'<script src="{PREFIX}/assets/early.js?{STAMP}"></script>'
    f'<link rel="stylesheet" href="{PREFIX}/assets/style.css?{STAMP}">'
)
NONCE = '<script nonce="{{ request.state.nonce }}"'


class _Nonced(BaseLoader):
    """Gives the scripts that stand in a template itself a nonce, and no others."""

    def __init__(self, inner: BaseLoader) -> None:
        self._inner = inner

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Return the source of a template with the nonce in its scripts."""
        source, name, is_new = self._inner.get_source(environment, template)
        return source.replace("<script", NONCE), name, is_new


def nonce_scripts() -> None:
    """Let NiceGUI's pages carry the nonce of their policy; doing so twice changes nothing."""
    environment = nicegui_client.templates.env
    if environment.loader is not None and not isinstance(environment.loader, _Nonced):
        environment.loader = _Nonced(environment.loader)
        if environment.cache is not None:
            environment.cache.clear()
