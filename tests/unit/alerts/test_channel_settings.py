"""A channel's wrong settings are refused before anything starts, without repeating them."""

import base64
import traceback
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from alerts.channels import email, webhook

SECRET = "hunter2"


def key(length: int) -> str:
    return "whsec_" + base64.b64encode((SECRET * length)[:length].encode()).decode()


@pytest.mark.parametrize(
    "mistake",
    [
        {"to": ()},
        {"to": ("desk@example.com\r\nBcc: all@example.com",)},
        {"to": ("desk@example.com\n",)},
        {"to": ("Desk <desk@example.com>",)},
        {"to": ("desk",)},
        {"sender": "a..b@example.com"},
        {"host": "mail..example.com"},
        {"host": "mail.example.com\n"},
        {"security": "none"},
        {"password": None},
        {"username": None},
        {"port": 0},
    ],
)
def test_a_wrong_mail_setting_is_refused(mistake: dict[str, Any]) -> None:
    refused(email.Config.example(secret=SECRET), mistake)


@pytest.mark.parametrize(
    "mistake",
    [
        {"url": f"ftp://example.com/{SECRET}"},
        {"url": f"https:///{SECRET}"},
        {"url": f"https://example.com:{SECRET}/"},
        {"url": SECRET},
        {"secret": SECRET},
        {"secret": key(23)},
        {"secret": key(65)},
        {"secret": key(32).removeprefix("whsec_")},
        {"secret": "whsec_" + "é" * 40},
    ],
)
def test_a_wrong_webhook_setting_is_refused(mistake: dict[str, Any]) -> None:
    refused(webhook.Config.example(secret=SECRET), mistake)


@pytest.mark.parametrize("length", [24, 32, 64])
@pytest.mark.parametrize("padding", ["=", ""])
def test_a_key_may_come_without_padding(length: int, padding: str) -> None:
    given = key(length).rstrip("=") if not padding else key(length)
    assert (
        webhook.Config(url=SecretStr("https://example.com/"), secret=SecretStr(given)).secret.get_secret_value()
        == given
    )


def test_mail_without_a_password_may_go_unencrypted() -> None:
    config = email.Config(host="::1", security="none", sender="monitor@localhost", to=("a@b.example", "a@b.example"))
    assert config.to == ("a@b.example",)


def refused(right: email.Config | webhook.Config, mistake: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        type(right).model_validate({**dict(right), **mistake})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
