"""HTTP to addresses that outsiders choose: an address guard, and the headers that say when to come again."""

import ipaddress
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import certifi
import httpx

from monitor.errors import FetchError, Reason

_LAST_PORT = 65_535
_MAX_RETRY_AFTER_S = 86_400.0
# NAT64 and 6to4: addresses that carry another one, private ones too.
_WRAPPING = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16"))
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


def client(*, allow_private_addresses: bool, user_agent: str, proxy: str | None = None) -> httpx.AsyncClient:
    """An HTTP client that looks at every address it is connected to before it sends anything.

    Looking after the connection is made, not when the name is resolved, leaves no moment in which the name could be
    made to mean another address. A `proxy` makes the connections in our place, and is trusted to refuse what it should.
    Follows no redirects, for their bodies would be read without a limit; keeps no cookies, which nobody here needs.
    """
    guard = {} if allow_private_addresses or proxy else {"trace": _refuse_private}

    async def add_guard(request: httpx.Request) -> None:
        if (request.url.port or 0) > _LAST_PORT:  # what opens connections breaks on it
            raise FetchError(Reason.CLIENT_ERROR, f"there is no port {request.url.port}")
        request.extensions.update(guard)

    return httpx.AsyncClient(
        headers={"User-Agent": user_agent},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        event_hooks={"request": [add_guard]},
        proxy=proxy,
        verify=_authorities(),
        # A proxy named only in the environment would lead past the guard unseen.
        trust_env=False,
    )


def _authorities() -> ssl.SSLContext:
    """The system's certificate authorities, those named by SSL_CERT_FILE, and certifi's where a system has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


async def _refuse_private(event: str, given: Mapping[str, Any]) -> None:
    if event != "connection.connect_tcp.complete":
        return
    stream = given["return_value"]
    host = stream.get_extra_info("server_addr")[0]
    address = ipaddress.ip_address(host.split("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    wrapped = any(address in network for network in _WRAPPING if network.version == address.version)
    if wrapped or not address.is_global or address.is_multicast:
        await stream.aclose()
        raise FetchError(Reason.REFUSED_ADDRESS, "a private address; http.allow_private_addresses allows it")


def max_age_s(headers: Mapping[str, str]) -> float | None:
    """How long a response says it stays fresh, in seconds: Cache-Control's max-age (RFC 9111, 5.2.2.1)."""
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    return float(found.group(1)) if found else None


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long a response asks to be left alone, in seconds, at most a day; None where it does not say.

    Source: Retry-After as seconds or as a date, RFC 9110, 10.2.3.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # "-0000" and asctime name no zone; HTTP means UTC.
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return min(max(0.0, (moment - now).total_seconds()), _MAX_RETRY_AFTER_S)
