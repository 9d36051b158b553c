"""The topics of the streams: made where there are none, else held against the settings."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from monitor.bus.kafka_client import WHERE, explain
from monitor.bus.streams import Stream
from monitor.errors import BusError, ConfigError, Mistake, Reason
from monitor.settings import BusSettings

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 0.1


def topic_of(stream: Stream, settings: BusSettings) -> str:
    return f"{settings.kafka.topic_prefix}{stream}"


async def prepare(admin: AIOKafkaAdminClient, settings: BusSettings) -> None:
    """Makes the topics that are missing, and looks at those that exist.

    Raises: ConfigError, if a topic has another number of partitions, or cannot be made as the settings want it.
        BusError, if this user may not make or see one, or no broker answers.
    """
    names = [topic_of(stream, settings) for stream in Stream]
    try:
        # Asked for all: asked for one by name, some brokers would make it, with partitions as they please.
        known = set(await admin.list_topics())
        missing = [name for name in names if name not in known]
        if missing:
            await _make(admin, missing, settings)
        await _look(admin, names, settings)
        await _compare(admin, [name for name in names if name in known], settings)
    except KafkaError as error:
        raise explain(error, settings.kafka, "cannot prepare the topics") from error


def _wanted(settings: BusSettings) -> dict[str, str]:
    copies = settings.kafka.replication_factor
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(int(timedelta(hours=settings.retention_h).total_seconds() * 1000)),
        "max.message.bytes": str(settings.kafka.max_message_bytes),
        # What is durable is on two brokers, where there are enough of them to lose one and go on.
        "min.insync.replicas": "2" if copies >= 3 else "1",
    }


async def _make(admin: AIOKafkaAdminClient, names: Sequence[str], settings: BusSettings) -> None:
    new = [
        NewTopic(name, settings.partitions, settings.kafka.replication_factor, topic_configs=_wanted(settings))
        for name in names
    ]
    answer = await admin.create_topics(new)
    for name, code, *told in answer.topic_errors:
        error = kafka_errors.for_code(code)
        if error is kafka_errors.NoError:
            log.info("topic_made", topic=name, partitions=settings.partitions)
        elif error is not kafka_errors.TopicAlreadyExistsError:  # another process was quicker
            raise _refused(name, error, (told[0] if told else None) or error.description, settings)


def _refused(name: str, error: type[Any], text: str, settings: BusSettings) -> BusError | ConfigError:
    kafka = settings.kafka
    if error in (kafka_errors.TopicAuthorizationFailedError, kafka_errors.ClusterAuthorizationFailedError):
        user = kafka.sasl_username or "anonymous"
        return BusError(
            Reason.AUTH,
            f"topic {name} does not exist, and user {user} may not make it: allow Create on it, or have it made with"
            f" {settings.partitions} partitions and max.message.bytes {kafka.max_message_bytes}",
        )
    keys = {
        kafka_errors.InvalidReplicationFactorError: "replication_factor",
        kafka_errors.InvalidTopicError: "topic_prefix",
        kafka_errors.InvalidConfigurationError: "max_message_bytes",
        kafka_errors.PolicyViolationError: "replication_factor",
    }
    if error in keys:
        return ConfigError(
            kafka.bootstrap, [Mistake(f"{WHERE}.{keys[error]}", f"the broker refuses topic {name}: {text}")]
        )
    return BusError(Reason.SERVER_ERROR, f"{kafka.bootstrap} (bus.kafka.bootstrap) cannot make topic {name}: {text}")


async def _look(admin: AIOKafkaAdminClient, names: Sequence[str], settings: BusSettings) -> None:
    """Waits until every broker speaks of the new topics, and counts their partitions."""
    until = asyncio.get_running_loop().time() + settings.kafka.request_timeout_s
    while True:
        answer = {topic["topic"]: topic for topic in await admin.describe_topics(list(names))}
        unseen = []
        for name in names:
            error = kafka_errors.for_code(answer[name]["error_code"]) if name in answer else kafka_errors.UnknownError
            if error is kafka_errors.TopicAuthorizationFailedError:
                raise explain(error(name), settings.kafka, f"cannot see topic {name}")
            if error is not kafka_errors.NoError or not answer[name]["partitions"]:
                unseen.append(name)
        if not unseen:
            break
        if asyncio.get_running_loop().time() > until:
            raise BusError(
                Reason.SERVER_ERROR,
                f"topic {unseen[0]} was made, and {settings.kafka.bootstrap} does not show it; see the brokers' log",
            )
        await asyncio.sleep(_LOOK_AGAIN_S)
    mistakes = [
        f"{len(answer[name]['partitions'])}, which topic {name} has"
        for name in names
        if len(answer[name]["partitions"]) != settings.partitions
    ]
    if mistakes:
        raise ConfigError(
            settings.kafka.bootstrap,
            [Mistake("bus.partitions", f"expected {mistakes[0]}; got {settings.partitions}")],
        )


async def _compare(admin: AIOKafkaAdminClient, names: Sequence[str], settings: BusSettings) -> None:
    """Says where the topics that were there already differ; changing them is left to who made them."""
    if not names:
        return
    wanted = {name: value for name, value in _wanted(settings).items() if name in ("retention.ms", "max.message.bytes")}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    for answer in answers:
        for code, _, _, name, entries, *_ in answer.resources:
            if code:  # this user may not see them, or the broker has none
                log.info("topic_settings_not_seen", topic=name)
                continue
            for key, value, *_ in entries:
                if key in wanted and value is not None and value != wanted[key]:
                    log.warning("topic_setting_differs", topic=name, setting=key, found=value, expected=wanted[key])
