"""What an answer means for a delivery, and why none came."""

import os
import socket
import ssl
from collections.abc import Iterator

from monitor.errors import DeliveryError, Reason

_REASONS = {
    401: Reason.AUTH,
    403: Reason.AUTH,
    408: Reason.TIMEOUT,
    410: Reason.GONE,
    413: Reason.TOO_LARGE,
    429: Reason.RATE_LIMITED,
}


def reason_of(status: int) -> Reason:
    """Why a status outside 200 to 299 is a failure. 410 is final: Standard Webhooks disables the endpoint then."""
    return _REASONS.get(status, Reason.CLIENT_ERROR if 300 <= status < 500 else Reason.SERVER_ERROR)


def place(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets. It names no path, query or password of a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unreached(error: BaseException, at: str) -> DeliveryError:
    """No connection to `at`, and why, in words of ours, the system's or the TLS library's.

    What the error says itself is not repeated: it may hold an address, or what the other side made up.
    """
    why = next((why for one in _chain(error) if (why := _why(one))), None)
    return DeliveryError(Reason.UNREACHABLE, f"no connection to {at}" + (f": {why}" if why else ""))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, the first cause first."""
    within = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    # httpcore raises its own error "from None": what led to it is its context all the same.
    cause = error.__cause__ or error.__context__
    for one in (*within, *(() if cause is None else (cause,))):
        yield from _chain(one)
    yield error


def _why(error: BaseException) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate not trusted: {error.verify_message.rstrip('.')}"
        case ssl.SSLError():
            return "TLS failed" + (f": {error.reason.replace('_', ' ').lower()}" if error.reason else "")
        case socket.gaierror():
            is_none = error.errno in {socket.EAI_NONAME, socket.EAI_NODATA}
            return "name not found" if is_none else "name could not be looked up"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            return "closed by the other side"
        case OSError() if error.errno:
            return os.strerror(error.errno).lower()
    return None
