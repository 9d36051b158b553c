"""The settings of [bus.kafka]."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from monitor.plugins import SecretFiles, base_dir

_ADDRESS = re.compile(r"^(\[[0-9a-fA-F:]+\]|[^\s:\[\]/@]+):(\d{1,5})$")
_PREFIX = re.compile(r"^[A-Za-z0-9._-]{0,200}$")


class KafkaSettings(SecretFiles):
    """A cluster of Apache Kafka, or of what speaks its protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    bootstrap: str = Field("localhost:9092", description="host:port of some of the brokers, separated by commas")
    topic_prefix: str = Field("monitor.", description="begins the name of every topic and consumer group")
    replication_factor: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="copies of each partition, for topics made by this program; 3 survives the loss of a broker"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="what the listener of the brokers speaks"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how the password is proved, with SASL"
    )
    sasl_username: str | None = Field(None, description="user of the cluster, with SASL")
    sasl_password: SecretStr | None = Field(None, description="that user's password")
    ssl_cafile: Path | None = Field(
        None, description="authorities that vouch for the brokers, PEM; unset: those of the system"
    )
    ssl_certfile: Path | None = Field(None, description="this client's certificate, PEM, where the brokers want one")
    ssl_keyfile: Path | None = Field(None, description="the key of that certificate, PEM, without a passphrase")
    idempotent: bool = Field(
        True, description="brokers drop what a producer sends twice; false for brokers that do not know how"
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "gzip", description="of what is sent; all but none and gzip need the package cramjam"
    )
    max_message_bytes: Annotated[int, Field(ge=100_000, le=1_000_000_000)] = Field(
        16_000_000, description="size of the largest record"
    )
    fetch_bytes: Annotated[int, Field(ge=10_000, le=100_000_000)] = Field(
        1_000_000, description="fetched ahead per partition, in bytes as sent"
    )
    request_timeout_s: Annotated[float, Field(ge=1, le=300)] = Field(
        20, description="limit for one answer of a broker, and for one publication with all its retries"
    )
    session_timeout_s: Annotated[float, Field(ge=1, le=300)] = Field(
        10, description="a process not heard of for so long has died: its partitions go to others"
    )
    rebalance_wait_s: Annotated[float, Field(ge=0, le=300)] = Field(
        15, description="what is in work may be finished for so long before its partitions go to others"
    )
    max_poll_interval_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        600, description="a stage that takes nothing for so long is stuck: its partitions go to others"
    )

    @field_validator("bootstrap")
    @classmethod
    def _addresses(cls, value: str) -> str:
        parts = [part.strip() for part in value.split(",")]
        for part in parts:
            found = _ADDRESS.match(part)
            if found is None or not 0 < int(found[2]) < 65_536:
                raise ValueError("expected host:port, or several separated by commas")
        return ",".join(parts)

    @field_validator("topic_prefix")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _PREFIX.match(value):
            raise ValueError("expected letters, digits, '.', '_' and '-' only")
        return value

    @field_validator("ssl_cafile", "ssl_certfile", "ssl_keyfile")
    @classmethod
    def _beside_the_file(cls, value: Path | None) -> Path | None:
        return None if value is None else base_dir.get() / value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.security_protocol.startswith("SASL") and (self.sasl_username is None or self.sasl_password is None):
            raise ValueError("security_protocol with SASL needs sasl_username and sasl_password")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile needs ssl_certfile")
        return self
