"""Links from a message to the monitor's pages, signed and with an end."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, cast, get_args

from itsdangerous import BadData, URLSafeSerializer

from alerts import words

Action = Literal["page", "acknowledge", "silence"]


class Opened(NamedTuple):
    """What a link asks for, and whom it was sent to."""

    action: Action
    alert_id: str
    recipient: str


class Links:
    """Makes and reads links of the form `{base_url}/alerts/{token}`. The secret signs them, and stands in none.

    A token is a URLSafeSerializer's (HMAC with SHA-256), with the end of its time inside of what is signed. The timed
    signers of itsdangerous read a clock of their own; here every attempt at a message makes the same bytes, a test
    passes its own time, and links that are out keep their end when `days` changes.

    Whoever holds a link can use it, and mail scanners follow links by themselves: opening one must only show a page,
    and the button on it act.

    Units: `days` from when a message was made until its links end.
    """

    def __init__(self, base_url: str, secret: str, days: float) -> None:
        self._base = base_url.rstrip("/")
        self._valid = timedelta(days=days)
        self._signer = URLSafeSerializer(
            secret, salt="news-monitor alert link", signer_kwargs={"digest_method": hashlib.sha256}
        )

    def page(self, alert_id: str, recipient: str, at: datetime) -> str:
        return self._link("page", alert_id, recipient, at)

    def acknowledge(self, alert_id: str, recipient: str, at: datetime) -> str:
        return self._link("acknowledge", alert_id, recipient, at)

    def silence(self, alert_id: str, recipient: str, at: datetime) -> str:
        return self._link("silence", alert_id, recipient, at)

    def open(self, token: str, now: datetime) -> Opened:
        """What the link asks for.

        Raises: ValueError, for a token that was not made here, or whose time is over.
        """
        try:
            body: Any = self._signer.loads(token)
        except (BadData, UnicodeEncodeError):
            raise ValueError("the link is damaged, or was not made by this monitor: open it from the message") from None
        action, alert_id, recipient, end_s = body
        end = datetime.fromtimestamp(end_s, UTC)
        if now >= end:
            raise ValueError(f"the link has expired, take a newer message's: it was good until {words.minute(end)}")
        if action not in get_args(Action):
            raise ValueError(f"the link asks for {action!r}, which this release does not know")
        return Opened(cast("Action", action), alert_id, recipient)

    def _link(self, action: Action, alert_id: str, recipient: str, at: datetime) -> str:
        end_s = int((at + self._valid).timestamp())
        token = self._signer.dumps([action, alert_id, recipient, end_s])
        return f"{self._base}/alerts/{token if isinstance(token, str) else token.decode()}"
