"""The configuration through the command line: what is checked, what is shown, what is written."""

import tomllib
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from tests.acceptance.command import SHARED, Workplace

SECRET = "hunter2-hunter2"
KEY = "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
OPML = SHARED / "data/opml"


def test_check_prints_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "key").write_text(KEY)
    mail = 'kind = "email"\nhost = "h.example"\nusername = "u"\nsender = "a@b.example"\nto = ["c@b.example"]\n'
    config = f"""
        [database]
        url = "postgresql+asyncpg://monitor:{SECRET}@localhost/monitor"
        [feeds.paid]
        url = "https://reader:{SECRET}@wire.example/rss"
        [alerts.channels.given]\n{mail}password = "{SECRET}"
        [alerts.channels.filed]\n{mail}password_file = "{tmp_path}/secret"
        [alerts.channels.hook]
        kind = "webhook"
        url = "https://hooks.example/{SECRET}"
        secret = "{KEY}"
        [alerts.channels.filed_hook]
        kind = "webhook"
        url = "https://hooks.example/x"
        secret_file = "{tmp_path}/key"
    """
    place = Workplace(tmp_path, config)
    for arguments in (("check",), ("check", "--json")):
        done = place.call(*arguments)
        assert done.code == 0, done
        assert "filed_hook" in done.out
        for secret in (SECRET, KEY):
            assert secret not in done.out + done.err


def test_every_mistake_is_told_at_once_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_HTTP__CONCURRENCY", "-1")
    monkeypatch.setenv("MONITOR_DETECTOR__PRIOR_WEIGHT", "heavy")
    monkeypatch.setenv("MONITOR_FEEDS", "not a table")
    monkeypatch.setenv("MONITOR_UNHEARD_OF", "1")
    config = f"""
        data_dri = "data"
        log = 3
        [http]
        timeout_s = "long"
        [alerts.channels.hook]
        kind = "webhook"
        url = "{SECRET}"
        secret = "{SECRET}"
        [alerts.channels.mail]
        kind = "email"
        password_file = "/nonexistent/file"
        [alerts.channels.pigeon]
        kind = "pigeon"
        [alerts.channels.nameless]
        url = "{SECRET}"
        [detect]
        negative_from = 7
    """
    place = Workplace(tmp_path, config)
    for command in ("check", "run", "headlines"):
        done = place.call(command)
        assert (done.code, done.out) == (2, "")
        keys = {line.split(":")[0].strip() for line in done.err.splitlines()[1:]}
        assert keys == {
            "MONITOR_UNHEARD_OF", "alerts.channels.hook.secret", "alerts.channels.hook.url",
            "alerts.channels.mail.host", "alerts.channels.mail.password", "alerts.channels.mail.sender",
            "alerts.channels.mail.to", "alerts.channels.nameless.kind", "alerts.channels.pigeon.kind", "data_dri",
            "detect.negative_from", "detector.prior_weight", "feeds", "http.concurrency", "http.timeout_s", "log",
        }  # fmt: skip
        assert SECRET not in done.err
        assert "expected one of: apprise, console, email, webhook" in done.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("body", "text"), [(b"a = ", "not TOML"), (b"\xff\xfe", "config.toml"), (b"[feeds.a]\n[feeds.a]", "not TOML")]
)
def test_a_file_that_is_no_toml(body: bytes, text: str, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.config.write_bytes(body)
    done = place.call("check")
    assert (done.code, text in done.err, "Traceback" in done.err) == (2, True, False)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.config.unlink()
    done = place.run("run")
    assert (done.code, done.out) == (2, "")
    assert f"{place.config}: 1 mistake(s)" in done.err
    assert "MONITOR_CONFIG" in done.err


def test_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Workplace(tmp_path, '[http]\ntimeout_s = 5\nper_host = 3\n[feeds.wire]\nurl = "https://file.example/rss"\n')
    monkeypatch.setenv("MONITOR_HTTP__TIMEOUT_S", "7")
    monkeypatch.setenv("MONITOR_FEEDS__WIRE__URL", "https://environment.example/rss")
    monkeypatch.setenv("MONITOR_FEEDS__MORE__URL", "https://more.example/rss")
    monkeypatch.setenv("MONITOR_DETECTOR__PRIOR_WEIGHT", "2.5")
    monkeypatch.setenv("MONITOR_DETECT__KEYS", '["all"]')
    found = place.ask("check")
    assert (found["http"]["timeout_s"], found["http"]["per_host"]) == (7, 3)
    assert {name: feed["url"] for name, feed in found["feeds"].items()} == {
        "wire": "https://environment.example/rss",
        "more": "https://more.example/rss",
    }
    assert (found["detector"]["prior_weight"], found["detect"]["keys"]) == (2.5, ["all"])


def test_the_configuration_may_be_named_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Workplace(tmp_path, 'data_dir = "elsewhere"\n')
    monkeypatch.setenv("MONITOR_CONFIG", str(place.config))
    assert str(tmp_path / "elsewhere") in place.call("check", config=False).out


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = Workplace(tmp_path, 'data_dir = "file/data"\n').call("headlines")
    assert (done.code, "data_dir" in done.err) == (2, True)


def outline(title: str | None, url: str | None = None, inside: str = "") -> str:
    name = "" if title is None else f" text={quoteattr(title)}"
    feed = "" if url is None else f' type="rss" xmlUrl={quoteattr(url)}'
    return f"<outline{name}{feed}>{inside}</outline>"


def write_opml(path: Path, *outlines: str) -> Path:
    path.write_text(f"<opml version='2.0'><body>{''.join(outlines)}</body></opml>", encoding="utf-8")
    return path


def test_an_opml_list_becomes_feeds_once(tmp_path: Path) -> None:
    long = "https://long.example/" + "very-long-path/" * 20
    place = Workplace(tmp_path, '[feeds.wire]\nurl = "https://wire.example/rss"')
    file = write_opml(
        tmp_path / "list \"of\nfeeds.opml",
        outline("Wire", "https://wire.example/rss"),
        outline("Banks", inside=outline('The "Old" \\ Bank', "https://bank.example/rss?a=1&b=2")
            + outline("Deep", inside=outline("Zażółć", "https://deep.example/rss"))),
        outline("Wire", "https://other.example/rss"),
        outline(None, "https://untitled.example/rss"),
        outline("新聞", "https://news.example/rss"),
        outline("Long", long),
        outline("Other protocol", "feed://feed.example/rss"),
        outline("Twice", "https://other.example/rss"),
    )  # fmt: skip
    printed = place.call("feeds", "import", str(file))
    tables = tomllib.loads(printed.out[: printed.out.index("6 feeds not written")])["feeds"]
    assert {table["url"] for table in tables.values()} == {
        "https://bank.example/rss?a=1&b=2", "https://deep.example/rss", "https://other.example/rss",
        "https://untitled.example/rss", "https://news.example/rss", long,
    }  # fmt: skip
    assert tables["the_old_bank"]["group"] == "Banks"
    assert next(t["group"] for t in tables.values() if "deep" in t["url"]) == "Banks / Deep"
    assert "feed://feed.example/rss" in printed.err
    assert len(place.ask("check")["feeds"]) == 1

    written = place.ask("feeds", "import", str(file), "--write")
    assert (len(written["feeds"]), written["unusable"]) == (6, ["feed://feed.example/rss"])
    assert len(place.ask("check")["feeds"]) == 7
    assert place.ask("feeds", "import", str(file), "--write")["feeds"] == []
    assert len(place.ask("feeds", "list")) == 7


@pytest.mark.parametrize("body", ["", "<html></html>", "no xml", "<opml><body>", "<opml/>"])
def test_what_is_no_opml_is_refused_and_nothing_written(body: str, tmp_path: Path) -> None:
    place = Workplace(tmp_path, "# as it was\n")
    (tmp_path / "list.opml").write_text(body)
    done = place.call("feeds", "import", str(tmp_path / "list.opml"), "--write")
    assert done.code == (0 if body == "<opml/>" else 1)
    assert "Traceback" not in done.err
    assert place.config.read_text() == "# as it was\n"


@pytest.mark.skipif(not OPML.is_dir(), reason="the shared lists of feeds are not here")
def test_published_opml_lists(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    taken = 0
    for file in sorted(OPML.glob("*.opml")):
        done = place.call("feeds", "import", str(file), "--write")
        assert done.code == 0, done.err
        taken += 1
        assert place.call("check").code == 0
        again = place.call("feeds", "import", str(file))
        assert "0 feeds not written" in again.out
    assert taken > 0
    assert len(place.ask("feeds", "list")) > 10
