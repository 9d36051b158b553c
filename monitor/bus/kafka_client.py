"""Connections to Kafka, and what their errors mean to whoever reads config.toml."""

import ssl
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError

from monitor.errors import BusError, ConfigError, Mistake, MonitorError, Reason
from monitor.kafka_settings import KafkaSettings

WHERE = "bus.kafka"

# A SCRAM server that refuses answers with "e=...", in which the client looks in vain for its "v=...".
CONNECT_ERRORS = (KafkaError, OSError, TimeoutError, KeyError, ValueError)

_UNREACHABLE = (
    kafka_errors.KafkaConnectionError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.GroupCoordinatorNotAvailableError,
    kafka_errors.NotCoordinatorForGroupError,
    kafka_errors.LeaderNotAvailableError,
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.StaleMetadata,
    ConnectionError,
)
_NO_ANSWER = (kafka_errors.RequestTimedOutError, kafka_errors.KafkaTimeoutError, TimeoutError)
_FORBIDDEN = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
)
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
_REFUSED = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
    KeyError,
)


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """The keyword arguments that every client of aiokafka is made with.

    Raises: ConfigError, if a certificate cannot be read.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": "news-monitor",
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": int(settings.request_timeout_s * 1000),
    }
    if settings.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL") and settings.sasl_password is not None:
        arguments |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return arguments


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    key = "ssl_cafile"
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
        if settings.ssl_certfile is not None:
            key = "ssl_certfile"
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password=_no_passphrase)
    except (OSError, ValueError) as error:
        path = settings.ssl_cafile if key == "ssl_cafile" else settings.ssl_certfile
        raise ConfigError(WHERE, [Mistake(f"{WHERE}.{key}", f"cannot be used: {path}: {error}")]) from error
    return context


def _no_passphrase() -> str:
    raise ValueError("its key has a passphrase; expected one without")  # else OpenSSL asks at the terminal


def explain(error: BaseException, settings: KafkaSettings, what: str) -> BusError:
    """What an error of a client means, and what to do; `what` is what could not be done, as in "cannot publish"."""
    brokers = f"{what}: {settings.bootstrap} (bus.kafka.bootstrap)"
    if isinstance(error, _FORBIDDEN):
        user = settings.sasl_username or "anonymous"
        return BusError(
            Reason.AUTH,
            f"{what}: {_said(error)}; let user {user} describe, read and write the topics {settings.topic_prefix}* and"
            f" read the groups {settings.topic_prefix}*",
        )
    if isinstance(error, _TOO_LARGE):
        return BusError(
            Reason.TOO_LARGE,
            f"{what}: {_said(error)}; raise bus.kafka.max_message_bytes, and max.message.bytes of that topic with it",
        )
    if isinstance(error, _UNREACHABLE):
        return BusError(Reason.UNREACHABLE, f"{brokers} cannot be reached ({_said(error)}); retried until it can")
    if isinstance(error, _NO_ANSWER):
        return BusError(Reason.TIMEOUT, f"{brokers} gave no answer in time; retried until it does")
    return BusError(Reason.SERVER_ERROR, f"{brokers}: {_said(error)}")


def _said(error: BaseException) -> str:
    name = type(error).__name__
    text = str(error).removeprefix(f"[Error {getattr(error, 'errno', '')}] ").removeprefix(f"{name}: ")
    return text if text.startswith(name) else f"{name}: {text}" if text else name


async def diagnose(settings: KafkaSettings) -> MonitorError:
    """Why no broker could be asked: connects to each once more, and looks at what happens."""
    found: list[str] = []
    arguments = connection(settings)
    del arguments["bootstrap_servers"]
    for host, port, _ in collect_hosts(settings.bootstrap):
        address = f"{host}:{port}"
        try:
            conn = await create_conn(host, port, **arguments)
        except _REFUSED:
            return ConfigError(
                address,
                [
                    Mistake(
                        f"{WHERE}.sasl_password",
                        f"refused for user {settings.sasl_username} with {settings.sasl_mechanism};"
                        " check sasl_username, sasl_password and sasl_mechanism",
                    )
                ],
            )
        except ssl.SSLCertVerificationError as error:
            return ConfigError(
                address,
                [
                    Mistake(
                        f"{WHERE}.ssl_cafile",
                        f"does not vouch for the broker's certificate: {error.verify_message};"
                        " expected the authority that signed it",
                    )
                ],
            )
        except CONNECT_ERRORS as error:
            found.append(f"{address}: {_reason(error, settings)}")
        else:
            conn.close()
            found.append(f"{address}: takes connections and breaks them off; check bus.kafka.security_protocol")
    return BusError(
        Reason.UNREACHABLE,
        f"no broker of bus.kafka.bootstrap could be asked: {'; '.join(found)}",
    )


def _reason(error: BaseException, settings: KafkaSettings) -> str:
    if isinstance(error, ssl.SSLError | kafka_errors.KafkaConnectionError):
        return f"{_said(error)}; check bus.kafka.security_protocol, now {settings.security_protocol}"
    if isinstance(error, TimeoutError):
        return "no answer; check the address, firewalls and bus.kafka.security_protocol"
    if isinstance(error, OSError):
        return f"{error.strerror or error}; check the address, and that the broker runs there"
    return _said(error)
