"""A bus on Apache Kafka: streams are topics, groups are consumer groups, and any number of processes share the work."""

import asyncio
import logging
from collections.abc import Awaitable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest

from monitor.bus.bus import Message
from monitor.bus.kafka_client import CONNECT_ERRORS, WHERE, connection, diagnose, explain
from monitor.bus.kafka_consumer import KafkaConsumer
from monitor.bus.kafka_topics import prepare, topic_of
from monitor.bus.streams import READS, Group, Stream, partition_of
from monitor.errors import BusError, ConfigError, Mistake, MonitorError, Reason
from monitor.settings import BusSettings

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Below the 1 MB at which brokers refuse a batch unless told otherwise.
_BATCH_BYTES = 512_000
# What a record needs beside its key and value.
_OVERHEAD_BYTES = 1000
_CLOSE_S = 5.0
_ASK_WAIT_MS = 10


class KafkaBus:
    """Publishes with the consent of all replicas in sync; what it returned from survives the loss of a broker.

    Kafka deletes by age alone: a group that falls behind by more than `bus.retention_h` loses messages, and says so.
    """

    def __init__(self, settings: BusSettings) -> None:
        # Each of its errors reaches us as one too, and is told of once, with what to do; it tells ten times a second.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
        self.settings = settings
        self.arguments = connection(settings.kafka)
        self._consumers: list[KafkaConsumer] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._admin: AIOKafkaAdminClient | None = None
        self._observer: AIOKafkaConsumer | None = None
        self._producer: Any = None  # an AIOKafkaProducer
        self._starting = asyncio.Lock()
        self._open = False

    @classmethod
    async def open(cls, settings: BusSettings) -> "KafkaBus":
        """Connects, makes the topics that are missing, and looks at those that exist.

        Raises: ConfigError, if what is found contradicts the settings, or they are refused.
            BusError, if no broker can be reached, or this user has not the rights.
        """
        bus = cls(settings)
        try:
            await prepare(await bus._started_admin(), settings)
            await bus._started_producer()
            bus._open = True
        except BaseException:
            await bus.aclose()
            raise
        return bus

    async def publish(self, stream: Stream, messages: Sequence[Message]) -> None:
        if not messages:
            return
        topic = topic_of(stream, self.settings)
        by_partition: dict[int, list[tuple[bytes, bytes]]] = {}
        for message in messages:  # all of them before the first is sent: none is, if one of them cannot be
            record = self._record(topic, message)
            by_partition.setdefault(partition_of(message.key, self.settings.partitions), []).append(record)
        producer = await self._started_producer()
        what = f"cannot publish to {topic}"
        try:
            async with asyncio.timeout(self.settings.kafka.request_timeout_s + 1):
                sending = [_send(producer, topic, *of_partition) for of_partition in by_partition.items()]
                outcomes = await asyncio.gather(*sending, return_exceptions=True)
        except TimeoutError as error:
            raise explain(error, self.settings.kafka, what) from error
        for outcome in outcomes:
            if isinstance(outcome, KafkaError | TimeoutError):
                if not getattr(outcome, "retriable", True) and producer is self._producer:
                    self._producer = None  # it may be unfit for more; the next one starts afresh
                    self.retire(producer.stop())
                raise explain(outcome, self.settings.kafka, what) from outcome
            if isinstance(outcome, BaseException):
                raise outcome

    def _record(self, topic: str, message: Message) -> tuple[bytes, bytes]:
        key, value = message.key.encode("utf-8", "surrogatepass"), message.value
        if not isinstance(value, bytes):
            raise TypeError(f"expected bytes to publish to {topic}; got {type(value).__name__}")
        size, limit = len(key) + len(value) + _OVERHEAD_BYTES, self.settings.kafka.max_message_bytes
        if size > limit:
            error = kafka_errors.MessageSizeTooLargeError(f"a record of {size} bytes, at most {limit} are allowed")
            raise explain(error, self.settings.kafka, f"cannot publish to {topic}")
        return key, value

    async def subscribe(self, group: Group) -> KafkaConsumer:
        consumer = KafkaConsumer(self, group)
        self._consumers.append(consumer)
        await consumer.connect()
        return consumer

    async def lag(self, group: Group) -> int:
        topic = topic_of(READS[group], self.settings)
        partitions = [TopicPartition(topic, number) for number in range(self.settings.partitions)]
        admin, observer = await self._started_admin(), await self._started_observer()
        what = f"cannot tell the lag of {group}"
        name = self.group_name(group)
        committed = await self.ask(what, admin.list_consumer_group_offsets(name, partitions=partitions))
        oldest = await self.ask(what, observer.beginning_offsets(partitions))
        newest = await self.ends(partitions)
        known = {partition: place.offset for partition, place in committed.items()}
        return sum(max(0, newest[each] - max(oldest[each], known.get(each, -1))) for each in partitions)

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset that each partition's next message will have. Raises: BusError."""
        return await self.ask("cannot tell where the topics end", self._ends(partitions))

    async def _ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        observer, producer = await self._started_observer(), await self._started_producer()
        ends: dict[TopicPartition, int] = await observer.end_offsets(partitions)
        # Some brokers tell where the last batch begins instead. What comes with a fetch is exact, and empty at the end.
        by_leader: dict[int, list[TopicPartition]] = {}
        for each in partitions:
            await producer.partitions_for(each.topic)
            by_leader.setdefault(producer.client.cluster.leader_for_partition(each), []).append(each)
        for leader, its in by_leader.items():
            topics: dict[str, list[tuple[int, int, int]]] = {}
            for each in its:
                topics.setdefault(each.topic, []).append((each.partition, ends[each], 1))
            answer = await producer.client.send(leader, FetchRequest(_ASK_WAIT_MS, 1, 1, 0, list(topics.items())))
            for topic, told in answer.topics:
                for partition, code, high_watermark, *_ in told:
                    if code == 0:
                        each = TopicPartition(topic, partition)
                        ends[each] = max(ends[each], high_watermark)
        return ends

    async def trim(self) -> int:
        """Kafka deletes by itself: nothing to do."""
        return 0

    async def aclose(self) -> None:
        for consumer in self._consumers:
            consumer.close()
        for client, close in (
            (self._producer, "stop"),
            (self._observer, "stop"),
            (self._admin, "close"),
        ):
            if client is not None:
                self.retire(getattr(client, close)())
        self._consumers, self._producer, self._observer, self._admin = [], None, None, None
        if not self._closing:
            return
        _, late = await asyncio.wait(self._closing, timeout=_CLOSE_S)
        for task in late:
            task.cancel()
        if late:
            log.info("bus_left_without_goodbye", clients=len(late))
            await asyncio.wait(late, timeout=1)

    def group_name(self, group: Group) -> str:
        return f"{self.settings.kafka.topic_prefix}{group}"

    def retire(self, closing: Coroutine[Any, Any, None]) -> None:
        """Closes a client in the background: with the broker away, that takes as long as a request does.

        Cut short, it would go on in the name of a member that nobody reads for.
        """
        task = asyncio.create_task(_quietly(closing), name="kafka-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def ask(self, what: str, question: Awaitable[T]) -> T:
        """The answer to a question. Raises: BusError, also if there is none in time."""
        try:
            async with asyncio.timeout(self.settings.kafka.request_timeout_s):
                return await question
        except (KafkaError, OSError, TimeoutError) as error:
            raise explain(error, self.settings.kafka, what) from error

    async def start(self, client: Any, close: str = "stop") -> None:
        """Connects a client of aiokafka. Raises: ConfigError, BusError, with what stands in the way."""
        try:
            # Its own limits come first: cut short while it connects, it forgets to close the connection.
            async with asyncio.timeout(3 * self.settings.kafka.request_timeout_s):
                await client.start()
        except CONNECT_ERRORS as error:
            self.retire(getattr(client, close)())
            if isinstance(error, kafka_errors.KafkaConnectionError | TimeoutError | KeyError):
                raise await self._diagnose() from error
            raise explain(error, self.settings.kafka, "cannot connect") from error
        except BaseException:
            self.retire(getattr(client, close)())
            raise

    async def _diagnose(self) -> MonitorError:
        found = await diagnose(self.settings.kafka)
        if self._open and isinstance(found, ConfigError):
            # It was right once. Whoever changes a password at the brokers does not want to start all stages again.
            return BusError(Reason.AUTH, "; ".join(f"{mistake.key}: {mistake.expected}" for mistake in found.mistakes))
        return found

    async def _started_admin(self) -> AIOKafkaAdminClient:
        async with self._starting:
            if self._admin is None:
                admin = AIOKafkaAdminClient(**self.arguments)
                await self.start(admin, "close")
                self._admin = admin
            return self._admin

    async def _started_observer(self) -> AIOKafkaConsumer:
        """A consumer of no group, to ask how long the topics are."""
        async with self._starting:
            if self._observer is None:
                observer = AIOKafkaConsumer(**self.arguments)
                await self.start(observer)
                self._observer = observer
            return self._observer

    async def _started_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = self._make_producer()
                try:
                    await self.start(producer)
                except BusError as error:
                    if self.settings.kafka.idempotent and error.reason is Reason.SERVER_ERROR:
                        raise self._not_idempotent(error) from error
                    raise
                self._producer = producer
            return self._producer

    def _make_producer(self) -> AIOKafkaProducer:
        kafka = self.settings.kafka
        try:
            return AIOKafkaProducer(
                **self.arguments,
                acks="all",
                enable_idempotence=kafka.idempotent,
                compression_type=None if kafka.compression == "none" else kafka.compression,
                max_batch_size=_BATCH_BYTES,
                max_request_size=kafka.max_message_bytes,
            )
        except RuntimeError as error:  # its word for a codec that is not installed
            told = f"{kafka.compression} needs the package cramjam: pip install cramjam"
            raise ConfigError("this installation", [Mistake(f"{WHERE}.compression", told)]) from error

    def _not_idempotent(self, error: BusError) -> ConfigError:
        return ConfigError(
            self.settings.kafka.bootstrap,
            [
                Mistake(
                    f"{WHERE}.idempotent",
                    f"this broker gives out no producer ids ({error.detail}); set it to false if it knows none, else"
                    " allow IdempotentWrite to this user",
                )
            ],
        )


async def _send(producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Whole batches, one after another: a future per batch costs less than one per record."""
    under_way = []
    batch = producer.create_batch()
    try:
        for key, value in records:
            if batch.append(key=key, value=value, timestamp=None) is None:
                under_way.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        under_way.append(await producer.send_batch(batch, topic, partition=partition))
    finally:
        outcomes = await asyncio.gather(*under_way, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _quietly(closing: Coroutine[Any, Any, None]) -> None:
    try:
        await closing
    except (KafkaError, OSError, TimeoutError) as error:
        log.debug("client_closed_with_an_error", error=str(error))
