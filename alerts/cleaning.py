"""Makes outside text harmless wherever it is shown: one line, bounded, no controls; links only to the web."""

import unicodedata

import httpx

MAX_URL = 2000


def clean(given: str, limit: int) -> str:
    """One line of at most `limit` characters that moves no cursor and turns no text around.

    Controls, direction marks, private-use characters and lone surrogates are dropped, white space becomes
    single spaces. The zero-width joiners stay: Persian, the Indic scripts and emoji are spelt with them.
    """
    head = given[: 4 * limit]  # a headline of megabytes is not walked through
    kept = (char for char in head if char.isspace() or char in _JOINERS or _is_visible(char))
    line = " ".join("".join(kept).split())
    if len(line) > limit or len(head) < len(given):
        line = line[: limit - 1].rstrip() + "…"
    return line


def isolate(given: str) -> str:
    """The text, set apart where it holds right-to-left letters: it cannot reorder what stands around it.

    Source: Unicode Standard Annex 9, FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE.
    """
    if any(unicodedata.bidirectional(char) in {"R", "AL", "AN"} for char in given):
        return f"\u2068{given}\u2069"
    return given


def safe_url(given: str | None) -> str | None:
    """The URL, percent-encoded, its host in ASCII; None unless it is plain http or https."""
    if given is None or len(given) > MAX_URL:
        return None
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL:
        return None
    # user@host is how a link shows one host and leads to another
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or len(str(url)) > MAX_URL:
        return None
    return str(url)


_JOINERS = frozenset("\u200c\u200d")


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co"}
