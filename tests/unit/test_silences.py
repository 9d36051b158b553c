"""Silences are asked for at every look: their matchers are read once."""

from datetime import timedelta

import pytest

from monitor.domain.matchers import Matcher, parse
from monitor.storage import silences
from monitor.storage.store import Store
from tests.factories import NOW

HOUR = timedelta(hours=1)


async def test_matchers_are_read_once_while_their_silence_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(text: str) -> Matcher:
        read.append(text)
        return parse(text)

    monkeypatch.setattr(silences, "parse", counted)
    add = store.silences.add
    one = await add((parse("key=~a+"),), NOW, NOW + HOUR, author="ann", comment="", now=NOW)
    other = await add((parse("key=~b+"),), NOW, NOW + 2 * HOUR, author="ann", comment="", now=NOW)
    for _ in range(3):
        assert [found.matchers for found in await store.silences.active(NOW)] == [one.matchers, other.matchers]
    assert read == ['key=~"a+"', 'key=~"b+"']

    assert await store.silences.expire(one.id, NOW + HOUR / 2)
    third = await add((parse("key=c"),), NOW, NOW + 3 * HOUR, author="ann", comment="", now=NOW)
    for _ in range(2):
        found = await store.silences.active(NOW + HOUR)
        assert [(held.id, held.matchers) for held in found] == [(held.id, held.matchers) for held in (other, third)]
    assert read[2:] == ['key="c"']
