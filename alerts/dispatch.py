"""Decides what is due, and attempts deliveries until they are accepted or given up."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

import structlog

from alerts import retry
from alerts.channel import Channel
from alerts.digests import Digests
from alerts.evaluate import Evaluation, Policy
from alerts.words import minute
from monitor.clock import Clock
from monitor.errors import DeliveryError, LeaseError, Reason, StoreError
from monitor.leader import Lead, Led
from monitor.storage.alerts import LIVE, REPLAYED
from monitor.storage.deliveries import Delivery, Endpoint
from monitor.storage.leases import Term
from monitor.storage.store import Store

log = structlog.get_logger(__name__)

_POLL_S = 0.5
# One answer must not silence a channel for longer than this.
_MOST_PATIENCE_S = 3600.0
_LOOK_FOR_CHANNEL = timedelta(minutes=5)


class Dispatch(Led):
    """Every step is written down before the next is taken: what dies in between is done again under the same id.

    Channels do not wait for each other: a mail server that hangs holds up mail alone. `fingerprints` tell whether a
    channel is still the one of which something is remembered. `deliver` False: an archive is played without telling
    anyone; `silent`: it is played as if everyone were told.
    """

    name = "dispatch"

    def __init__(
        self,
        channels: Mapping[str, Channel],
        policy: Policy,
        *,
        store: Store,
        clock: Clock,
        fingerprints: Mapping[str, str] | None = None,
        deliver: bool = True,
        silent: bool = False,
        lead: Lead | None = None,
    ) -> None:
        super().__init__(clock, lead)
        self._channels = channels
        self._fingerprints = fingerprints or {}
        self._store = store
        self._deliver = deliver
        self._origin = LIVE if deliver else REPLAYED
        self._evaluation = Evaluation(store, policy, self._origin, silent=silent)
        self._digests = Digests(store, policy)
        self._since: Term | None = None
        self._is_settled = False
        self._unlogged: dict[str, Delivery] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, str] = {}

    @property
    def policy(self) -> Policy:
        return self._evaluation.policy

    async def reload(self, channels: Mapping[str, Channel], policy: Policy, fingerprints: Mapping[str, str]) -> None:
        """From now on these hold; returns once no attempt uses the channels before them any more."""
        self._channels, self._fingerprints = channels, fingerprints
        self._evaluation.policy = policy
        self._digests = Digests(self._store, policy)
        self._is_settled = False
        if under_way := list(self._sending.values()):
            await asyncio.wait(under_way)

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            for task in self._sending.values():
                task.cancel()

    async def _act(self) -> None:
        await self._try_pass(digests=True)
        await asyncio.sleep(_POLL_S)

    async def _finish(self) -> None:
        await self._try_pass()
        if self._sending:
            await asyncio.wait(self._sending.values())

    async def _try_pass(self, *, digests: bool = False) -> None:
        """Starts on what is due; a channel that is still at work is left to it."""
        term = self._term()
        try:
            with self.vital.step():
                if digests:
                    await self._digests.write_due(self._clock.now(), term)
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
            if reason is not None and not await self._store.deliveries.are_pending(name):
                reason = None  # given up: nothing is retried any more
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
        """Decides on the groups that are due; then the deliveries that are, by channel."""
        now = self._clock.now()
        if not self._is_settled or term != self._since:
            await self._settle(term)
        await self._evaluation.route(now, term)
        await self._evaluation.flush(now, term)
        if not self._deliver:  # what waits to be sent is the daemon's
            return {}
        by_channel: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in await self._store.deliveries.to_send(now, busy=self._sending):
            by_channel[delivery.notification.channel].append(delivery)
        return by_channel

    async def _settle(self, term: Term | None) -> None:
        """Before the first look: takes over what older programs have left, and puts alerts on the routes of now."""
        if self._deliver:
            keep = timedelta(seconds=self.policy.settings.keep_firing_for_s)
            spikes = await self._store.alerts.adopt(keep, term)
            deliveries = await self._store.deliveries.adopt(term)
            if spikes or deliveries:
                log.info("taken_over", spikes=spikes, deliveries=deliveries)
        await self._evaluation.settle(self._clock.now(), term)
        self._since, self._is_settled = term, True

    async def _send_all(self, name: str, due: Sequence[Delivery], term: Term | None) -> Reason | None:
        """Attempts each, until a reload brings other channels; returns why the last that failed did.

        Raises: StoreError; LeaseError, before the next attempt, if another copy sends now.
        """
        failure: Reason | None = None
        channels = self._channels
        for delivery in due:
            if self._channels is not channels:
                break  # the rest is due still: by the channels that hold now
            notification = delivery.notification
            # Where an attempt could not be written down, it is not made again for that.
            after = self._unlogged.get(notification.id)
            if after is None:
                if term is not None:
                    await self._store.leases.check(term)
                after = await self._attempt(name, delivery, term)
            self._unlogged[notification.id] = after
            # What was accepted is so whoever leads now, and written down in any case: nobody is to send it again.
            try:
                await self._store.deliveries.log(after, None if after.state == "delivered" else term)
            except LeaseError:
                del self._unlogged[notification.id]  # the copy that acts now makes an attempt of its own
                raise
            del self._unlogged[notification.id]
            if after.state == "delivered":
                log.info("notification_delivered", notification=notification.id, channel=name, attempts=after.attempts)
            elif after.attempts > delivery.attempts or after.state == "failed":
                failure = after.reason
                log.warning(
                    "notification_failed", notification=notification.id, channel=name, attempts=after.attempts,
                    reason=after.reason, detail=after.detail, next_attempt_at=after.next_attempt_at,
                    given_up=after.state == "failed",
                )  # fmt: skip
            else:  # put off: the other side asked for it, or there is none
                failure = failure or after.reason or Reason.RATE_LIMITED
        return failure

    async def _attempt(self, name: str, delivery: Delivery, term: Term | None) -> Delivery:
        now = self._clock.now()
        if now >= delivery.expires_at:
            return retry.expired(delivery)
        channel = self._channels.get(name)
        if channel is None:  # perhaps for a moment: a slip in the file, or somebody at work on the other side
            missing = "disabled" if name in self.policy.settings.channels else "not in the configuration"
            return delivery._replace(
                next_attempt_at=min(now + _LOOK_FOR_CHANNEL, delivery.expires_at),
                reason=Reason.UNREACHABLE,
                detail=f"the channel {name} is {missing}; it waits for it until it expires",
            )
        if (left_alone := await self._left_alone(name, delivery)) is not None:
            return left_alone
        try:
            with self.vital.step():
                await channel.send(delivery.notification)
        except DeliveryError as error:
            await self._remember(name, error, term)
            return retry.failed(delivery, error, self._clock.now())
        except Exception as error:  # noqa: BLE001  # top of an attempt: one channel's surprise stays that channel's
            # The text is not logged: it may hold the address, or the secret, that a channel keeps to itself.
            log.error("channel_broke", channel=name, error=type(error).__name__)  # noqa: TRY400
            surprise = DeliveryError(Reason.PROTOCOL, f"{type(error).__name__} in the channel")
            return retry.failed(delivery, surprise, self._clock.now())
        return retry.delivered(delivery, self._clock.now())

    async def _left_alone(self, name: str, delivery: Delivery) -> Delivery | None:
        """What becomes of a delivery where the other side wants none now, or none any more; None: it may be tried."""
        endpoint = (await self._store.deliveries.endpoints()).get(name)
        if endpoint is None or endpoint.fingerprint != self._fingerprints.get(name):
            return None
        now = self._clock.now()
        if endpoint.disabled_at is not None:
            remedy = f"give it another address, or: monitor deliveries enable {name}"
            detail = f"it said on {minute(endpoint.disabled_at)} that it is gone; {remedy}"
            return delivery._replace(state="failed", next_attempt_at=None, reason=Reason.GONE, detail=detail)
        if endpoint.not_before is not None and now < endpoint.not_before < delivery.expires_at:
            return delivery._replace(next_attempt_at=endpoint.not_before)
        return None

    async def _remember(self, name: str, error: DeliveryError, term: Term | None) -> None:
        """Keeps to what the other side asked for, for all messages to it."""
        now, mine = self._clock.now(), self._fingerprints.get(name)
        if mine is None:
            return
        if error.reason is Reason.GONE:
            await self._store.deliveries.note(Endpoint(name, mine, disabled_at=now, detail=error.detail), term)
            log.warning("channel_disabled", channel=name, why=error.detail)
        elif error.retry_after_s:
            until = now + timedelta(seconds=min(error.retry_after_s, _MOST_PATIENCE_S))
            await self._store.deliveries.note(Endpoint(name, mine, not_before=until, detail=error.detail), term)
