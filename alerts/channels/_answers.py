"""What the status of an HTTP answer means for a delivery."""

from monitor.errors import Reason

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
