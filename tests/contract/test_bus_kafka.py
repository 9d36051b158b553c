"""What the bus on Kafka keeps to besides: members that come and go, brokers that do, settings that are wrong."""

import asyncio
import gc
import importlib.util
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from monitor.bus import kafka, kafka_consumer
from monitor.bus.bus import Message, Received
from monitor.bus.kafka import KafkaBus
from monitor.bus.kafka_consumer import KafkaConsumer
from monitor.bus.streams import Group, Stream
from monitor.chaos.servers import free_port
from monitor.errors import BusError, ConfigError, Reason
from monitor.settings import BusSettings
from tests.brokers import NAMED, Proxy, bus_settings, own_broker, proxied_broker
from tests.messages import by_key, messages, read_all

LIMIT_S = 30
# For members that must not be missed by mistake, however busy the machine.
PATIENT: dict[str, Any] = {"session_timeout_s": 6 if NAMED else 2}
own_broker_only = pytest.mark.skipif(NAMED is not None, reason="needs a broker that can be cut off, or lacks something")


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with proxied_broker() as proxy:
        yield proxy


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the group asks a member with a batch in work for its partitions."""
    asked = asyncio.Event()
    revoked = KafkaConsumer.revoked

    async def tell(consumer: KafkaConsumer) -> None:
        if consumer._next:
            asked.set()
        await revoked(consumer)

    monkeypatch.setattr(KafkaConsumer, "revoked", tell)
    return asked


@asynccontextmanager
async def opened(settings: BusSettings) -> AsyncIterator[KafkaBus]:
    bus = await KafkaBus.open(settings)
    try:
        yield bus
    finally:
        await bus.aclose()


async def retried(call: Callable[[], Awaitable[object]]) -> None:
    """Calls until there is no BusError, as the stages do."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await _once(call)
            except BusError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.05)


async def _once(call: Callable[[], Awaitable[object]]) -> None:
    await call()


def in_order(received: Sequence[Received]) -> list[Received]:
    return sorted(received, key=lambda message: (message.partition, message.offset))


async def test_a_batch_in_work_is_finished_before_its_partitions_go(kafka: str, asked_for: asyncio.Event) -> None:
    settings = bus_settings(kafka, **PATIENT)
    async with opened(settings) as bus, opened(settings) as other, asyncio.timeout(LIMIT_S):
        await bus.publish(Stream.ARTICLES, messages(40, keys=20))
        first = await bus.subscribe(Group.CLASSIFY)
        in_work = await first.poll(10, timeout_s=LIMIT_S)
        second = await other.subscribe(Group.CLASSIFY)
        joining = asyncio.ensure_future(read_all(second, 100))
        await asked_for.wait()
        assert await first.poll(10, timeout_s=0.01) == (), "nothing more is handed out"
        await first.commit()
        theirs, mine = await asyncio.gather(joining, read_all(first, 100))
        assert by_key(in_order([*in_work, *mine, *theirs])) == by_key(messages(40, keys=20)), "each of them once"
        await bus.publish(Stream.ARTICLES, messages(40, keys=20))
        shares = [{message.partition for message in await read_all(each)} for each in (first, second)]
        assert sorted(map(len, shares)) == [2, 2]
        assert len(shares[0] | shares[1]) == 4


async def test_a_batch_that_takes_too_long_is_read_again(kafka: str, asked_for: asyncio.Event) -> None:
    settings = bus_settings(kafka, rebalance_wait_s=0.1, **PATIENT)
    async with opened(settings) as bus, opened(settings) as other, asyncio.timeout(LIMIT_S):
        await bus.publish(Stream.ARTICLES, messages(40, keys=20))
        first = await bus.subscribe(Group.CLASSIFY)
        in_work = await first.poll(10, timeout_s=LIMIT_S)
        with capture_logs() as logs:
            second = await other.subscribe(Group.CLASSIFY)
            theirs = await read_all(second)
        assert {"batch_dropped_at_rebalance"} == {line["event"] for line in logs if line["log_level"] == "warning"}
        await first.commit()
        assert await bus.lag(Group.CLASSIFY) == 40, "what was dropped is not committed, and no error"
        mine = await read_all(first)
        assert by_key(in_order([*mine, *theirs])) == by_key(messages(40, keys=20))
        assert set(in_work) < {*mine, *theirs}
        await first.commit()
        await second.commit()
        assert await bus.lag(Group.CLASSIFY) == 0


async def test_members_come_and_go_and_every_message_is_read(kafka: str) -> None:
    """At least once, and each member reads a partition in order from where it was given it."""
    settings = bus_settings(kafka, rebalance_wait_s=0.5)
    seen: set[bytes] = set()
    async with opened(settings) as feed:

        async def work(batches: int | None) -> None:
            async with opened(settings) as bus:
                consumer = await bus.subscribe(Group.CLASSIFY)
                while batches is None or batches > 0:
                    batch = await consumer.poll(7, timeout_s=0.1)
                    for message in batch:
                        seen.add(message.value)
                    if batch and batches is not None:
                        batches -= 1
                        if batches == 0:
                            return  # it goes before it has committed this one
                    await consumer.commit()

        steady = asyncio.ensure_future(work(None))
        passing = [asyncio.ensure_future(work(3)) for _ in range(2)]
        try:
            count = 0
            async with asyncio.timeout(LIMIT_S):
                while not all(task.done() for task in passing):
                    await feed.publish(Stream.ARTICLES, [Message(f"{n}", b"%d" % n) for n in range(count, count + 20)])
                    count += 20
                    await asyncio.sleep(0.02)
                while await feed.lag(Group.CLASSIFY) > 0:
                    assert not steady.done(), steady.exception()
                    await asyncio.sleep(0.05)
            await asyncio.gather(*passing)
        finally:
            for task in (steady, *passing):
                task.cancel()
            await asyncio.gather(steady, *passing, return_exceptions=True)
    assert seen == {b"%d" % number for number in range(count)}


async def test_a_stage_that_got_stuck_is_let_in_again(kafka: str) -> None:
    settings = bus_settings(kafka, rebalance_wait_s=0, max_poll_interval_s=1)
    async with opened(settings) as bus, opened(settings) as other, asyncio.timeout(LIMIT_S):
        await bus.publish(Stream.ARTICLES, messages(40, keys=20))
        stuck = await bus.subscribe(Group.CLASSIFY)
        assert await stuck.poll(5, timeout_s=LIMIT_S)
        second = await other.subscribe(Group.CLASSIFY)
        read: set[bytes] = set()
        while len(read) < 40:  # so it has all partitions: those of the stuck one too
            read |= {message.value for message in await second.poll(50, timeout_s=0.1)}
            await second.commit()
        await stuck.commit()
        number = 40
        while not await stuck.poll(5, timeout_s=0.1):
            await bus.publish(Stream.ARTICLES, [Message(f"key {number}", b"%d" % number)])
            await second.poll(50, timeout_s=0.1)
            number += 1


@own_broker_only
async def test_a_broker_that_goes_and_comes_back(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka_consumer, "_SILENCE_S", 0.5)
    settings = bus_settings(proxy.url, request_timeout_s=1, rebalance_wait_s=0)
    async with opened(settings) as bus, asyncio.timeout(2 * LIMIT_S):
        await bus.publish(Stream.ARTICLES, messages(40))
        consumer = await bus.subscribe(Group.CLASSIFY)
        read = list(await consumer.poll(10, timeout_s=LIMIT_S))
        proxy.cut()
        for call in (lambda: bus.publish(Stream.ARTICLES, messages(1)), consumer.commit, lambda: bus.lag(Group.ALERTS)):
            with pytest.raises(BusError, match=r"bus\.kafka\.bootstrap") as caught:
                await call()
            assert caught.value.reason in (Reason.UNREACHABLE, Reason.TIMEOUT)
            assert "Traceback" not in str(caught.value)

        async def read_until_it_fails() -> None:
            while True:
                read.extend(await consumer.poll(10, timeout_s=0.1))

        with pytest.raises(BusError):
            await read_until_it_fails()
        with pytest.raises(BusError, match="that the broker runs there"):
            await consumer.poll(10, timeout_s=0.1)
        proxy.restore()
        await retried(lambda: bus.publish(Stream.ARTICLES, [Message("late", b"late")]))
        wanted = {*(message.value for message in messages(40)), b"late"}

        async def read_on() -> None:
            read.extend(await consumer.poll(100, timeout_s=0.1))
            await consumer.commit()

        while not wanted <= {message.value for message in read} or await bus.lag(Group.CLASSIFY):
            await retried(read_on)
    gc.collect()  # tasks whose errors nobody asked for would tell of them now
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@own_broker_only
async def test_it_closes_in_time_though_the_broker_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka, "_CLOSE_S", 0.3)
    with proxied_broker() as proxy:
        bus = await KafkaBus.open(bus_settings(proxy.url, request_timeout_s=30))
        consumer = await bus.subscribe(Group.CLASSIFY)
        await bus.publish(Stream.ARTICLES, messages(5))
        assert await consumer.poll(1, timeout_s=LIMIT_S)
        proxy.cut()
        publishing = asyncio.ensure_future(bus.publish(Stream.ARTICLES, messages(1)))
        await asyncio.sleep(0)  # until it has begun
        async with asyncio.timeout(15):
            await bus.aclose()
            await bus.aclose()
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        with pytest.raises(BusError, match="closed"):
            await consumer.poll(1, timeout_s=0)
        gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_topics_are_made_as_the_settings_say(kafka: str) -> None:
    settings = bus_settings(kafka, partitions=3, max_message_bytes=2_000_000)
    async with opened(settings):
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            for stream in Stream:
                name = f"{settings.kafka.topic_prefix}{stream}"
                (topic,) = await admin.describe_topics([name])
                assert len(topic["partitions"]) == 3
                (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
                found = {entry[0]: entry[1] for entry in answer.resources[0][4]}
                assert (found["retention.ms"], found["max.message.bytes"]) == ("172800000", "2000000")
        finally:
            await admin.close()
    with capture_logs() as logs:
        async with opened(settings.model_copy(update={"retention_h": 24})):
            pass
    told = [(line["setting"], line["found"]) for line in logs if line["event"] == "topic_setting_differs"]
    assert told == [("retention.ms", "172800000")] * len(Stream)


async def test_another_number_of_partitions_is_a_mistake(kafka: str) -> None:
    settings = bus_settings(kafka, partitions=2)
    async with opened(settings):
        pass
    with pytest.raises(ConfigError, match=r"bus\.partitions: expected 2, which topic .*\.articles has; got 3"):
        await KafkaBus.open(settings.model_copy(update={"partitions": 3}))


async def test_a_record_too_large_names_the_setting(kafka: str) -> None:
    async with opened(bus_settings(kafka, max_message_bytes=100_000)) as bus:
        with pytest.raises(BusError, match=r"bus\.kafka\.max_message_bytes") as caught:
            await bus.publish(Stream.ARTICLES, [*messages(3), Message("k", b"x" * 100_000)])
        assert caught.value.reason is Reason.TOO_LARGE
        assert await bus.lag(Group.CLASSIFY) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_a_wrong_address_is_named(host: str, caplog: pytest.LogCaptureFixture) -> None:
    address = f"{host}:{free_port()}"
    with pytest.raises(BusError, match=r"bus\.kafka\.bootstrap") as caught:
        await KafkaBus.open(bus_settings(address, request_timeout_s=2))
    assert caught.value.reason is Reason.UNREACHABLE
    assert f"{address}: " in str(caught.value)
    assert "check the address, and that the broker runs there" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caplog.records == []


@own_broker_only
async def test_a_wrong_password_is_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    login: dict[str, Any] = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "u", "sasl_password": "hunter2"}
    with own_broker("--authentication") as url:
        with pytest.raises(ConfigError, match=r"bus\.kafka\.sasl_password: refused for user u") as caught:
            await KafkaBus.open(bus_settings(url, **login))
        assert "hunter2" not in str(caught.value)
        with pytest.raises(BusError, match=r"bus\.kafka\.security_protocol"):
            await KafkaBus.open(bus_settings(url))
    assert caplog.records == []


@own_broker_only
async def test_tls_where_none_is_spoken_names_the_setting(kafka: str, tmp_path: Path) -> None:
    with pytest.raises(BusError, match=r"bus\.kafka\.security_protocol"):
        await KafkaBus.open(bus_settings(kafka, security_protocol="SSL", request_timeout_s=1))
    with pytest.raises(ConfigError, match=r"bus\.kafka\.ssl_cafile: cannot be used"):
        await KafkaBus.open(bus_settings(kafka, security_protocol="SSL", ssl_cafile=tmp_path / "missing.pem"))


@own_broker_only
async def test_a_broker_without_producer_ids_names_the_setting(kafka: str) -> None:
    with pytest.raises(ConfigError, match=r"bus\.kafka\.idempotent: .*set it to false"):
        await KafkaBus.open(bus_settings(kafka, idempotent=True))


async def test_what_fills_several_batches_keeps_its_order(kafka: str) -> None:
    sent = [Message("k", b"%d" % number * 50_000) for number in range(30)]
    async with opened(bus_settings(kafka, compression="none")) as bus:
        await bus.publish(Stream.ARTICLES, sent)
        assert by_key(await read_all(await bus.subscribe(Group.CLASSIFY))) == by_key(sent)


@pytest.mark.skipif(importlib.util.find_spec("cramjam") is not None, reason="needs a codec that is not installed")
async def test_a_codec_that_is_not_installed_is_named(kafka: str) -> None:
    with pytest.raises(ConfigError, match=r"bus\.kafka\.compression: lz4 needs the package cramjam"):
        await KafkaBus.open(bus_settings(kafka, compression="lz4"))
