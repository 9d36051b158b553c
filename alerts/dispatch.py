"""Sends what is due: closes the wait of alerts, and attempts deliveries until they are accepted or given up."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

import structlog

from alerts import retry
from alerts.channel import Channel
from alerts.dedup import repeats
from alerts.rules import LIVE, REPLAYED
from monitor.clock import Clock
from monitor.domain.alerts import Alert, Notification
from monitor.domain.record import fingerprint
from monitor.errors import DeliveryError, LeaseError, Reason, StoreError
from monitor.leader import Lead, Led
from monitor.settings import AlertSettings
from monitor.storage.alerts import Delivery
from monitor.storage.leases import Term
from monitor.storage.store import Store

log = structlog.get_logger(__name__)

_POLL_S = 0.5


class Dispatch(Led):
    """Every step is written down before the next is taken: what dies in between is done again under the same id.

    Channels do not wait for each other: a mail server that hangs holds up mail alone.
    """

    name = "dispatch"

    def __init__(
        self,
        channels: Mapping[str, Channel],
        *,
        store: Store,
        clock: Clock,
        settings: AlertSettings,
        deliver: bool = True,
        lead: Lead | None = None,
    ) -> None:
        super().__init__(clock, lead)
        self._channels = channels
        self._store = store
        self._settings = settings
        self._deliver = deliver
        self._unlogged: dict[str, Delivery] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            for task in self._sending.values():
                task.cancel()

    async def _act(self) -> None:
        await self._try_pass()
        await asyncio.sleep(_POLL_S)

    async def _finish(self) -> None:
        await self._try_pass()
        if self._sending:
            await asyncio.wait(self._sending.values())

    async def _try_pass(self) -> None:
        """Starts on what is due; a channel that is still at work is left to it."""
        term = self._term()
        try:
            with self.vital.step():
                due = await self._due(term)
        except LeaseError as error:
            self._lost(term)
            log.warning("dispatch_refused", error=str(error))
            return
        except StoreError as error:
            self.vital.set("retrying", str(error))
            log.warning("dispatch_skipped", error=str(error))
            return
        for name, deliveries in due.items():
            if name not in self._sending:
                self._sending[name] = asyncio.create_task(
                    self._try_channel(name, deliveries, term), name=f"send {name}"
                )
        if self._troubles:
            self.vital.set("retrying", "; ".join(f"{name}: {why}" for name, why in sorted(self._troubles.items())))
        else:
            self.vital.set("ok")

    async def _try_channel(self, name: str, deliveries: Sequence[Delivery], term: Term | None) -> None:
        try:
            reason = await self._send_all(name, deliveries, term)
        except LeaseError as error:
            self._lost(term)
            log.warning("delivery_left_to_another", channel=name, error=str(error))
        except StoreError as error:
            self._troubles[name] = str(error)
            log.warning("delivery_not_logged", channel=name, error=str(error))
        else:
            self._troubles.pop(name, None)
            if reason is not None:
                self._troubles[name] = str(reason)
        finally:
            del self._sending[name]

    async def dispatch_once(self) -> dict[str, Reason]:
        """One pass over what is due now, to its end. Returns which channels failed, and why.

        Raises: StoreError, once every channel has ended its pass.
        """
        term = self._term()
        due = await self._due(term)
        passes = [self._send_all(name, deliveries, term) for name, deliveries in due.items()]
        failures: dict[str, Reason] = {}
        broken: list[BaseException] = []
        for name, result in zip(due, await asyncio.gather(*passes, return_exceptions=True), strict=True):
            if isinstance(result, BaseException):
                broken.append(result)
            elif result is not None:
                failures[name] = result
        if broken:
            raise broken[0]
        return failures

    async def _due(self, term: Term | None) -> dict[str, list[Delivery]]:
        """Ends the wait of the alerts that are due; then the deliveries that are, by channel."""
        for alert in await self._store.alerts.due(LIVE if self._deliver else REPLAYED, self._clock.now()):
            await self._release(alert, term)
        if not self._deliver:  # what waits to be sent is the daemon's
            return {}
        by_channel: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in await self._store.alerts.to_send(self._clock.now(), busy=self._sending):
            by_channel[delivery.notification.channel].append(delivery)
        return by_channel

    async def _release(self, alert: Alert, term: Term | None) -> None:
        """Decides what becomes of an alert whose wait is over."""
        now = self._clock.now()
        remembered = now - timedelta(hours=self._settings.story_memory_h)
        outcome = repeats(alert, await self._store.alerts.sent_stories(alert.group_key, remembered))
        notifications: Sequence[Notification] = ()
        age = now - max(spike.detected_at for spike in alert.spikes)
        if outcome is None and age > timedelta(hours=self._settings.horizon_h):
            outcome = f"not sent: detected over {self._settings.horizon_h:g} h ago, no news any more"
        elif outcome is None and not self._deliver:
            outcome = "not sent: a replay delivers nothing"
        elif outcome is None:
            notifications = self._notifications(alert)
            outcome = f"for {len(notifications)} recipient(s)" if notifications else "no channel is enabled"
        expires_at = now + timedelta(hours=self._settings.expire_h)
        if not await self._store.alerts.close(alert, outcome, notifications, now, expires_at, term):
            return  # a spike joined it meanwhile: the next pass looks at it again
        log.info(
            "alert_released", alert=alert.id, spikes=len(alert.spikes), severity=str(alert.severity), outcome=outcome
        )

    def _notifications(self, alert: Alert) -> list[Notification]:
        return [
            Notification(
                id=fingerprint("notification", alert.id, name, recipient),
                channel=name,
                recipient=recipient,
                alert=alert,
                created_at=self._clock.now(),
            )
            for name, channel in self._channels.items()
            for recipient in channel.recipients
        ]

    async def _send_all(self, name: str, due: Sequence[Delivery], term: Term | None) -> Reason | None:
        """Attempts each; returns why the last that failed did.

        Raises: StoreError; LeaseError, before the next attempt, if another copy sends now.
        """
        failure: Reason | None = None
        for delivery in due:
            notification = delivery.notification
            # Where an attempt could not be written down, it is not made again for that.
            after = self._unlogged.get(notification.id)
            if after is None:
                if term is not None:
                    await self._store.leases.check(term)
                after = await self._attempt(self._channels.get(name), delivery)
            self._unlogged[notification.id] = after
            # What was accepted is so whoever leads now, and written down in any case: nobody is to send it again.
            try:
                await self._store.alerts.log(after, None if after.state == "delivered" else term)
            except LeaseError:
                del self._unlogged[notification.id]  # the copy that acts now makes an attempt of its own
                raise
            del self._unlogged[notification.id]
            if after.reason is None:
                log.info("notification_delivered", notification=notification.id, channel=name, attempts=after.attempts)
            else:
                failure = after.reason
                log.warning(
                    "notification_failed", notification=notification.id, channel=name, attempts=after.attempts,
                    reason=after.reason, detail=after.detail, next_attempt_at=after.next_attempt_at,
                    given_up=after.state == "failed",
                )  # fmt: skip
        return failure

    async def _attempt(self, channel: Channel | None, delivery: Delivery) -> Delivery:
        if channel is None:
            gone = DeliveryError(Reason.INVALID, "this channel is not in the configuration any more")
            return retry.failed(delivery, gone, self._clock.now())
        if self._clock.now() >= delivery.expires_at:
            return retry.expired(delivery)
        try:
            with self.vital.step():
                await channel.send(delivery.notification)
        except DeliveryError as error:
            return retry.failed(delivery, error, self._clock.now())
        except Exception as error:  # noqa: BLE001  # top of an attempt: one channel's surprise stays that channel's
            # The text is not logged: it may hold the address, or the secret, that a channel keeps to itself.
            log.error("channel_broke", channel=delivery.notification.channel, error=type(error).__name__)  # noqa: TRY400
            surprise = DeliveryError(Reason.PROTOCOL, f"{type(error).__name__} in the channel")
            return retry.failed(delivery, surprise, self._clock.now())
        return retry.delivered(delivery, self._clock.now())
