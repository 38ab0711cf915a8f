"""The page on which a key is given: plain HTML, so that it works before any script has come."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from onefold.api.dashboard.resources import STAMP

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Onefold</title>
<script src="/dashboard/assets/early.js?{stamp}"></script>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/dashboard/assets/style.css?{stamp}">
</head>
<body class="login">
<main>
<h1>Onefold</h1>
<form method="post" action="/dashboard/login?next={target}">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" maxlength="200"
 required autofocus spellcheck="false" autocapitalize="none"{invalid}>
{said}
<button type="submit" class="primary">Sign in</button>
</form>
<p class="hint">The key's role says what you may see and do. The key itself is not kept in this
browser.</p>
</main>
</body>
</html>
"""


def login_page(target: str, said: str) -> str:
    """Return the page; `target` is where one goes from it, `said` what was wrong."""
    told = f'<p class="problem" id="said" role="alert">{escape(said)}</p>' if said else ""
    return _PAGE.format(
        stamp=STAMP,
        target=escape(quote(target, safe="")),
        said=told,
        invalid=' aria-invalid="true" aria-describedby="said"' if said else "",
    )
