"""The table [bus.kafka]: mistakes are named, secrets are not; errors of the client say what to do."""

from pathlib import Path
from typing import Any

import pytest
from aiokafka import errors as kafka_errors
from pydantic import ValidationError

from monitor.bus.kafka_client import connection, explain
from monitor.errors import BusError, ConfigError, Reason
from monitor.kafka_settings import KafkaSettings
from monitor.settings import load

SASL = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "u", "sasl_password": "hunter2"}


@pytest.mark.parametrize("value", ["a:1", "kafka-1.example.org:9092, kafka-2.example.org:9093", "[::1]:9092"])
def test_addresses(value: str) -> None:
    assert KafkaSettings(bootstrap=value).bootstrap == value.replace(" ", "")


@pytest.mark.parametrize("value", ["", "kafka", "kafka:", "kafka:0", "kafka:70000", "kafka:x", "a:1,", "http://a:1"])
def test_what_is_no_address(value: str) -> None:
    with pytest.raises(ValidationError, match="expected host:port"):
        KafkaSettings(bootstrap=value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs sasl_username and sasl_password"),
        ({"ssl_keyfile": "key.pem"}, "needs ssl_certfile"),
        ({"topic_prefix": "news/"}, "expected letters"),
        ({"compression": "rar"}, "compression"),
    ],
)
def test_a_table_that_cannot_be_meant(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        KafkaSettings(**given)


def test_it_is_read_from_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    path = tmp_path / "config.toml"
    path.write_text(
        '[bus]\nkind = "kafka"\n[bus.kafka]\nsecurity_protocol = "SASL_SSL"\nsasl_username = "u"\n'
        'sasl_password_file = "password"\nssl_cafile = "ca.pem"\n'
    )
    monkeypatch.setenv("MONITOR_BUS__KAFKA__BOOTSTRAP", "kafka:9092")
    bus = load(path).bus
    assert (bus.kind, bus.kafka.bootstrap, bus.kafka.ssl_cafile) == ("kafka", "kafka:9092", tmp_path / "ca.pem")
    assert bus.kafka.sasl_password is not None
    assert bus.kafka.sasl_password.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{bus!r}{bus.model_dump_json()}"


def test_mistakes_in_it_are_named_with_their_key(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[bus]\nkind = "rabbit"\n[bus.kafka]\nbootstrap = "hunter2"\nsession_timeout_s = 0\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    keys = {mistake.key for mistake in caught.value.mistakes}
    assert keys == {"bus.kind", "bus.kafka.bootstrap", "bus.kafka.session_timeout_s"}
    assert "hunter2" not in str(caught.value)


def test_a_connection_takes_its_login_from_them() -> None:
    found = connection(KafkaSettings(**SASL, sasl_mechanism="PLAIN"))
    assert (found["sasl_plain_username"], found["sasl_plain_password"]) == ("u", "hunter2")
    assert "sasl_plain_password" not in connection(KafkaSettings())


def test_a_key_with_a_passphrase_is_not_asked_for(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem"):
        (tmp_path / name).write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    settings = KafkaSettings(security_protocol="SSL", ssl_certfile=tmp_path / "cert.pem")
    with pytest.raises(ConfigError, match=r"bus\.kafka\.ssl_certfile: cannot be used: .*cert\.pem"):
        connection(settings)


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (kafka_errors.TopicAuthorizationFailedError("monitor.articles"), Reason.AUTH, "let user u describe, read"),
        (kafka_errors.GroupAuthorizationFailedError("monitor.classify"), Reason.AUTH, "groups monitor.*"),
        (kafka_errors.MessageSizeTooLargeError(), Reason.TOO_LARGE, "bus.kafka.max_message_bytes"),
        (kafka_errors.NodeNotReadyError("node 1"), Reason.UNREACHABLE, "bus.kafka.bootstrap"),
        (ConnectionResetError("reset"), Reason.UNREACHABLE, "bus.kafka.bootstrap"),
        (kafka_errors.RequestTimedOutError(), Reason.TIMEOUT, "no answer in time"),
        (TimeoutError(), Reason.TIMEOUT, "no answer in time"),
        (kafka_errors.NotEnoughReplicasError(), Reason.SERVER_ERROR, "NotEnoughReplicasError"),
    ],
)
def test_every_error_says_what_to_do(error: Exception, reason: Reason, says: str) -> None:
    found = explain(error, KafkaSettings(**SASL), "cannot publish to monitor.articles")
    assert isinstance(found, BusError)
    assert found.reason is reason
    assert found.detail.startswith("cannot publish to monitor.articles: ")
    assert says in found.detail
    assert "hunter2" not in str(found)
    assert "[Error" not in found.detail
