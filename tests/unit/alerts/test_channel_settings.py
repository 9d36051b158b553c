"""A channel's wrong settings are refused before anything starts, without repeating them."""

import base64
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from alerts.channel import ChannelConfig
from alerts.channels import apprise, email, webhook
from tests.receivers import daemon_log

SECRET = "hunter2"


def key(length: int) -> str:
    return "whsec_" + base64.b64encode((SECRET * length)[:length].encode()).decode()


@pytest.mark.parametrize(
    "mistake",
    [
        {"to": ()},
        {"unsubscribe": "desk@example.com\r\nBcc: all@example.com"},
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
        {"old_secrets": (SECRET,)},
        {"old_secrets": (key(32), key(23))},
        {"old_secrets": f"{key(32)}\n{SECRET}"},
        {"old_secrets": (key(32),) * 5},
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


def test_secrets_being_replaced_may_be_the_lines_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(f"{key(24)}\n{key(32)}\n")
    given = {"kind": "webhook", "url": "https://example.com/", "secret": key(64)}
    config = webhook.Config.model_validate({**given, "old_secrets_file": tmp_path / "old"})
    assert [secret.get_secret_value() for secret in config.old_secrets] == [key(24), key(32)]


@pytest.mark.parametrize("url", [SECRET, f"nosuch://{SECRET}", "json://", f"tgram://{SECRET}", f"slack://{SECRET}"])
def test_a_url_that_apprise_cannot_use_is_refused_without_a_word_of_it(url: str) -> None:
    right = apprise.Config.example(secret=SECRET)
    with daemon_log() as logged:
        refused(right, {"url": url})
    assert not logged.getvalue()


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#news",
        "tgram://123456789:abcdefg_hijklmnop/12315544",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "https://discord.com/api/webhooks/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    ],
)
def test_the_usual_services_are_known(url: str) -> None:
    assert apprise.Config(url=SecretStr(url)).url.get_secret_value() == url


def refused(right: ChannelConfig, mistake: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        type(right).model_validate({**dict(right), **mistake})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
