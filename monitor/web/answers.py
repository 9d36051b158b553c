"""Answers to a browser: HTML that fetches nothing, runs nothing, is kept nowhere, and leads nobody back to it."""

import base64
import hashlib
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from alerts import words

_TEMPLATES = Environment(
    loader=PackageLoader("monitor.web"),
    autoescape=select_autoescape(["html.j2"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(counted=words.counted, minute=words.minute, amount=words.amount)
_TEMPLATES.globals.update(window=words.window)

# The style is our own and the same on every page: a browser that is told its hash takes no other.
_STYLE = Markup(_TEMPLATES.get_template("style.css.j2").render())  # noqa: S704  # a file of this package
_TEMPLATES.globals.update(style=_STYLE)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address of a page is what lets its reader in
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}


def page(template: str, status: int = 200, *, headers: dict[str, str] | None = None, **facts: Any) -> Response:
    """The page that a template makes of the facts; all of them are escaped."""
    written = _TEMPLATES.get_template(f"{template}.html.j2").render(facts)
    # Half a surrogate pair, which a feed may contain, has no form in UTF-8.
    body = written.encode("utf-8", "replace")
    return HTMLResponse(body, status, headers=HEADERS | (headers or {}))


def told(status: int, text: str, advice: str = "", *, headers: dict[str, str] | None = None) -> Response:
    """A page that only says why there is nothing else to see, and what to do."""
    return page("told", status, headers=headers, title=HTTPStatus(status).phrase, text=text, advice=advice)


def plain(text: str) -> Response:
    return PlainTextResponse(text, headers=HEADERS)
