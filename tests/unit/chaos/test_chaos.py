"""What the command `monitor chaos` plays, hears and compares."""

import gzip
import hashlib
import json
import socket
from pathlib import Path

import httpx
import pytest

from monitor.chaos import archive
from monitor.chaos.outcome import compare, digest, read
from monitor.chaos.receiver import Receiver
from monitor.chaos.servers import _require
from monitor.errors import ChaosError, ConfigError
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from tests.factories import make_article, make_labelled


def test_the_invented_archive_is_the_same_every_time(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "two")]
    assert [archive.write(path, None, 400) for path in paths] == [400, 400]
    one, two = (path.read_bytes() for path in paths)
    assert one == two
    lines = one.splitlines()
    assert len(set(lines)) < len(lines) == 400, "copies are part of it"
    with pytest.raises(json.JSONDecodeError):
        [json.loads(line) for line in lines]


def test_of_a_given_archive_the_first_items_are_taken(tmp_path: Path) -> None:
    given = tmp_path / "given.jsonl.gz"
    given.write_bytes(gzip.compress(b'{"title": "a"}\n\n  \r\n{"title": "b"}\r\n{"title": "c"}'))
    assert archive.write(tmp_path / "two", given, 2) == 2
    assert (tmp_path / "two").read_bytes() == b'{"title": "a"}\n{"title": "b"}\n'
    assert archive.write(tmp_path / "all", given, None) == 3


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    given = tmp_path / "given.jsonl.gz"
    given.write_bytes(gzip.compress(b'{"title": "a"}\n' * 1000)[:-20])
    with pytest.raises(ConfigError, match="FILE: cannot be read"):
        archive.write(tmp_path / "archive", given, None)


async def test_an_outcome_differs_by_what_differs(tmp_path: Path) -> None:
    outcomes = []
    for name, titles in (("one", ("a", "b")), ("two", ("b", "a")), ("three", ("a", "c"))):
        url = sqlite_url(tmp_path / f"{name}.sqlite3")
        store = await Store.open(url)
        for title in titles:
            await store.articles.add([make_labelled(article=make_article(id=title, title=title))])
        await store.aclose()
        outcomes.append(await read(url, {"msg_1": "a body"}))
    one, two, three = outcomes
    assert digest(one) == digest(two) != digest(three)
    assert all(part.equal and part.expected == part.found for part in compare(one, two))
    differing = {part.part: part for part in compare(one, three) if not part.equal}
    assert set(differing) == {"articles", "labels"}
    assert (len(differing["articles"].missing), len(differing["articles"].added)) == (1, 1)
    assert differing["articles"].expected != differing["articles"].found


def test_the_receiver_notices_what_comes_twice_and_what_contradicts() -> None:
    with Receiver() as receiver, httpx.Client(trust_env=False) as client:
        for webhook_id, body in (("a", b"1"), ("b", b"2"), ("a", b"1"), ("b", b"3")):
            assert client.post(receiver.url, content=body, headers={"webhook-id": webhook_id}).status_code == 204
    assert receiver.bodies == {name: hashlib.sha256(body).hexdigest()[:16] for name, body in (("a", b"1"), ("b", b"2"))}
    assert receiver.repeated == 2
    assert receiver.contradicted == {"b"}


@pytest.mark.parametrize("part", [b"", b"the first ha"])
def test_a_message_whose_sender_dies_in_the_middle_of_it_has_not_come(part: bytes) -> None:
    body = b"the first half, and the second"
    with Receiver() as receiver:
        url = httpx.URL(receiver.url)
        with socket.create_connection((url.host, url.port)) as sender:
            head = f"POST {url.path} HTTP/1.1\r\nHost: x\r\nwebhook-id: a\r\nContent-Length: {len(body)}\r\n\r\n"
            sender.sendall(head.encode() + part)
            sender.shutdown(socket.SHUT_WR)
            assert sender.recv(1) == b"", "no answer"
        assert receiver.bodies == {}
        assert httpx.post(url, content=body, headers={"webhook-id": "a"}, trust_env=False).status_code == 204
    assert (receiver.repeated, receiver.contradicted) == (0, set())


def test_a_package_that_is_missing_is_told_with_the_remedy() -> None:
    with pytest.raises(ChaosError, match="needs no_such_package: name a cluster with --kafka"):
        _require({"no_such_package": "name a cluster with --kafka"})
