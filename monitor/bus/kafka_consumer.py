"""One member of a consumer group: reads its share, commits what is finished, and lets go in good order."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, OffsetAndMetadata, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from monitor.bus.bus import Received
from monitor.bus.kafka_client import explain
from monitor.bus.kafka_topics import topic_of
from monitor.bus.streams import READS, Group
from monitor.errors import BusError, Reason

if TYPE_CHECKING:
    from monitor.bus.kafka import KafkaBus

log = structlog.get_logger(__name__)

# A broker that is asked for more says something at least every half second.
_SILENCE_S = 15.0
_FETCH_MS = 1000
_FETCH_PARTITIONS = 16

Fetched = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class KafkaConsumer:
    """Reads with a client of aiokafka, and replaces it by a new one after every error that it does not get over.

    Nothing is read ahead without limit: per partition the client holds one fetch of `bus.kafka.fetch_bytes`, and asks
    for the next one when that has been taken. So partitions need not be paused: not polling is the back-pressure.
    Heartbeats are sent from the event loop; what takes long has to leave it free, as the stages do.
    """

    def __init__(self, bus: "KafkaBus", group: Group) -> None:
        self._bus = bus
        self._kafka = bus.settings.kafka
        self._group = group
        self._stream = READS[group]
        self._topic = topic_of(self._stream, bus.settings)
        self._client: Any = None  # an AIOKafkaConsumer
        # A fetch that a poll did not see the end of belongs to the next one. Cancelled, it would leave the client
        # thinking that it is being polled, for ever.
        self._fetch: asyncio.Task[Fetched] | None = None
        self._ready: list[Received] = []
        self._first: dict[int, int] = {}  # by partition: the oldest message that was fetched and not committed
        self._next: dict[int, int] = {}  # by partition: after the newest message that was polled and not committed
        self._done: dict[int, int] = {}  # by partition: up to where this member has ever asked to commit
        self._settled = asyncio.Event()
        self._assigned = asyncio.Event()
        self._waiting_since = 0.0
        self._heard: object = None
        self._heard_at = 0.0
        self._closed = False

    async def connect(self) -> AIOKafkaConsumer:
        """Raises: BusError."""
        if self._closed:
            raise BusError(Reason.UNREACHABLE, f"cannot read {self._topic}: the bus is closed")
        if self._client is None:
            kafka = self._kafka
            # A member that is finishing its work has so long to join again; and has died when it has not.
            rebalance_s = kafka.rebalance_wait_s + kafka.session_timeout_s
            client = AIOKafkaConsumer(
                **self._bus.arguments
                # While others are waited for, the broker lets the answer to a join wait.
                | {"request_timeout_ms": int(1000 * max(kafka.request_timeout_s, rebalance_s + 5))},
                group_id=self._bus.group_name(self._group),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=kafka.fetch_bytes,
                fetch_max_bytes=kafka.fetch_bytes * _FETCH_PARTITIONS,
                session_timeout_ms=int(1000 * kafka.session_timeout_s),
                heartbeat_interval_ms=int(1000 * kafka.session_timeout_s / 4),
                rebalance_timeout_ms=int(1000 * rebalance_s),
                max_poll_interval_ms=int(1000 * kafka.max_poll_interval_s),
            )
            await self._bus.start(client)
            self._client, self._waiting_since = client, self._now()
            client.subscribe([self._topic], listener=_Listener(self, client))
        return self._client

    async def poll(self, max_records: int, *, timeout_s: float) -> Sequence[Received]:
        client = await self.connect()
        until = self._now() + timeout_s
        try:
            left_s = timeout_s
            while not self._ready:
                await self._take(client, max_records, left_s)
                left_s = until - self._now()
                if self._ready or left_s > 0:
                    continue
                self._look_for_silence(client)
                if timeout_s > 0:
                    return ()
                at_the_end = await self._at_the_end(client)
                await self._take(client, max_records, 0)  # what came while that was asked
                if at_the_end and not self._ready:
                    return ()
                left_s = _FETCH_MS / 1000
        except (KafkaError, OSError, TimeoutError) as error:
            self._replace(client)
            raise explain(error, self._kafka, f"cannot read {self._topic}") from error
        except BusError:
            self._replace(client)
            raise
        self._waiting_since = self._now()
        batch, self._ready = self._ready[:max_records], self._ready[max_records:]
        for message in batch:
            self._next[message.partition] = message.offset + 1
        self._settled.clear()
        return batch

    async def commit(self) -> None:
        if not self._next or self._client is None:
            return
        # Never back: what was once asked for may have been done, though no answer came.
        places = {partition: max(place, self._done.get(partition, 0)) for partition, place in self._next.items()}
        self._done |= places
        offsets = {self._of(partition): OffsetAndMetadata(place, "") for partition, place in places.items()}
        try:
            async with asyncio.timeout(self._kafka.request_timeout_s):
                await self._client.commit(offsets)
        except (kafka_errors.CommitFailedError, kafka_errors.IllegalStateError) as error:
            # The group has gone on without us. What this batch was goes to its new readers, once more.
            log.warning("commit_came_too_late", group=self._group, partitions=sorted(places), error=str(error))
            self._forget()
            return
        except (KafkaError, OSError, TimeoutError) as error:
            raise explain(error, self._kafka, f"cannot commit what {self._group} has done") from error
        for partition, place in places.items():
            if self._first.get(partition, place) < place:
                self._first[partition] = place
        self._next.clear()
        self._settled.set()

    async def rewind(self) -> None:
        if self._client is not None:
            self._drop_fetch()
            here = self._client.assignment()
            for partition, offset in self._first.items():
                if self._of(partition) in here:
                    self._client.seek(self._of(partition), offset)
        self._forget()

    def close(self) -> None:
        """Leaves the group, in the background."""
        self._closed = True
        if self._client is not None:
            self._replace(self._client)

    def reads_with(self, client: AIOKafkaConsumer) -> bool:
        return self._client is client

    async def revoked(self) -> None:
        """Partitions are about to go, none before this returns. Fetches wait meanwhile, and heartbeats go on."""
        self._assigned.clear()
        self._waiting_since = self._now()
        self._drop_fetch()
        self._ready.clear()
        if self._next and not self._closed:
            try:
                async with asyncio.timeout(self._kafka.rebalance_wait_s):
                    await self._settled.wait()
            except TimeoutError:
                log.warning(
                    "batch_dropped_at_rebalance", group=self._group, waited_s=self._kafka.rebalance_wait_s,
                    partitions=sorted(self._next),
                )  # fmt: skip
        self._forget()
        self._done.clear()

    def assigned(self, partitions: Sequence[int]) -> None:
        self._waiting_since = self._now()
        self._assigned.set()
        log.info("partitions_assigned", group=self._group, partitions=partitions)

    async def _take(self, client: AIOKafkaConsumer, max_records: int, timeout_s: float) -> None:
        """Moves what a fetch brings to `_ready`."""
        if self._fetch is None:
            fetch = client.getmany(timeout_ms=_FETCH_MS, max_records=max_records)
            self._fetch = asyncio.create_task(fetch, name=f"kafka-fetch-{self._group}")
        fetch = self._fetch
        done, _ = await asyncio.wait({fetch}, timeout=timeout_s)
        if not done or fetch is not self._fetch:  # dropped meanwhile: its partitions may have gone
            return
        self._fetch = None
        for place, records in fetch.result().items():
            for record in records:
                key = (record.key or b"").decode("utf-8", "surrogatepass")
                self._ready.append(Received(self._stream, place.partition, record.offset, key, record.value or b""))
            if records:
                self._look_for_gap(place.partition, records[0].offset)
                self._first.setdefault(place.partition, records[0].offset)

    def _drop_fetch(self) -> None:
        """Forgets what a fetch brought and no poll has seen; one that is still under way brings nothing outdated."""
        if self._fetch is None or not self._fetch.done():
            return
        fetch, self._fetch = self._fetch, None
        if not fetch.cancelled() and fetch.exception() is None:
            for place, records in fetch.result().items():
                if records:
                    self._first.setdefault(place.partition, records[0].offset)

    def _look_for_gap(self, partition: int, offset: int) -> None:
        expected = self._next.get(partition, self._done.get(partition))
        if expected is not None and offset > expected:
            log.error(
                "messages_expired_unread", group=self._group, partition=partition, messages=offset - expected,
                remedy="raise bus.retention_h, or run more copies of this stage",
            )  # fmt: skip

    async def _at_the_end(self, client: AIOKafkaConsumer) -> bool:
        """Whether the log holds nothing more for this member now."""
        async with asyncio.timeout(self._join_limit_s):
            await self._assigned.wait()
        mine = client.assignment()
        if not mine:
            return True
        ends = await self._bus.ends(mine)
        try:
            async with asyncio.timeout(self._kafka.request_timeout_s):
                return all([await client.position(each) >= end for each, end in ends.items()])
        except kafka_errors.IllegalStateError:  # it has gone to another member
            return False

    def _look_for_silence(self, client: AIOKafkaConsumer) -> None:
        """Raises: BusError, if no broker has said anything for long: the client keeps that to itself."""
        now = self._now()
        if not self._assigned.is_set():
            if now - self._waiting_since > self._join_limit_s:
                raise BusError(
                    Reason.UNREACHABLE,
                    f"group {self._bus.group_name(self._group)} has not let this process in for"
                    f" {now - self._waiting_since:.0f} s: its coordinator among the brokers cannot be reached",
                )
            return
        mine = client.assignment()
        heard = [client.last_poll_timestamp(each) or 0 for each in mine]
        key = (mine, tuple(heard))
        if not mine or key != self._heard:
            self._heard, self._heard_at = key, now
        elif now - max(self._heard_at, self._waiting_since) > _SILENCE_S:
            raise BusError(
                Reason.UNREACHABLE,
                f"the brokers of {self._topic} have not answered for {now - self._heard_at:.0f} s"
                " (bus.kafka.bootstrap); connecting anew",
            )

    @property
    def _join_limit_s(self) -> float:
        return 2 * self._kafka.session_timeout_s + self._kafka.rebalance_wait_s + _SILENCE_S

    def _replace(self, client: Any) -> None:
        """Lets go of a client; the next poll connects anew."""
        if self._client is not client:
            return
        self._client, fetch, self._fetch = None, self._fetch, None
        if fetch is not None:
            fetch.add_done_callback(_forget_outcome)
            fetch.cancel()
        self._assigned.clear()
        self._forget()
        self._bus.retire(client.stop())

    def _forget(self) -> None:
        """What was polled and not committed is no longer ours to commit."""
        self._ready.clear()
        self._first.clear()
        self._next.clear()
        self._settled.set()

    def _of(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka publishes no types
    """Passes on what one client hears of its partitions, as long as that is the client that is read with."""

    def __init__(self, consumer: KafkaConsumer, client: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._client = client

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # all of them
        if self._consumer.reads_with(self._client):
            await self._consumer.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if self._consumer.reads_with(self._client):
            self._consumer.assigned(sorted(each.partition for each in assigned))


def _forget_outcome(fetch: asyncio.Task[Fetched]) -> None:
    if not fetch.cancelled():
        fetch.exception()
