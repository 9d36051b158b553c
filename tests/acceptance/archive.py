"""An archive to play: invented news of three weeks, with everything in it that archives get wrong."""

import gzip
import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from monitor.domain.record import utc

_START = utc(2024, 5, 1)
_BURST = utc(2024, 5, 16, 9)
_SOURCES = ("wire", "ledger", "courier", "exchange", "broadcast", "desk")
_FIRMS = ("Northfield Bank", "Castor Insurance", "Delmar Steel", "Brunt Motors", "Tallis Fund", "Kestrel Capital")
_NEWS = {
    "good": "{firm} raises its dividend after record profit in quarter {n}",
    "plain": "{firm} to hold its annual meeting in hall {n} next month",
    "bad": "{firm} shares plunge after heavy loss and default fears in case {n}",
    "pl": "Spółka {firm} poinformowała, że wyniki za kwartał {n} były zgodne z oczekiwaniami analityków i zarządu",
    "de": "Die {firm} hat nach eigenen Angaben im Geschäftsjahr {n} mehr Kunden gewonnen als im Jahr davor",
}
_BODY = {
    "good": "The company said on Monday that earnings beat what analysts had expected.",
    "plain": "Shareholders will vote on the agenda, the company said in a notice to the exchange.",
    "bad": "Investors sold the stock as the regulator opened a fraud investigation.",
    "pl": "Zarząd podkreślił, że sytuacja finansowa przedsiębiorstwa pozostaje stabilna, a inwestycje trwają.",
    "de": "Der Vorstand erklärte, dass die Nachfrage in den kommenden Monaten weiter steigen werde.",
}
_BROKEN = ("{broken", "[]", '"text"', "null", "\x00\x01", '{"title": ["a list"]}')
_NO_TEXT = ({"title": "", "source": "wire"}, {"title": "<b> </b>", "description": "<script>x</script>"}, {"link": "x"})


class Archive(NamedTuple):
    """The lines, and what is to become of them. `foreign`: titles in a language the model does not know."""

    lines: list[str]
    items: int
    duplicates: int
    dead_letters: int
    foreign: set[str]

    def write(self, path: Path) -> Path:
        body = "".join(line + "\n" for line in self.lines).encode()
        path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)
        return path


def make(items: int = 1500, seed: int = 7) -> Archive:
    """An archive of so many items; the same for the same seed."""
    chance = random.Random(seed)
    step = timedelta(days=20) / items
    lines: list[str] = []
    good: list[str] = []
    foreign: set[str] = set()
    duplicates = dead_letters = 0
    for number in range(items):
        what = chance.random()
        if what < 0.03:
            lines.append(chance.choice(_BROKEN))
            dead_letters += 1
        elif what < 0.05:
            lines.append(json.dumps(chance.choice(_NO_TEXT)))
            dead_letters += 1
        elif what < 0.12 and good:
            lines.append(chance.choice(good[-200:]))
            duplicates += 1
        else:
            item, kind = _item(chance, number, _START + number * step)
            if kind in ("pl", "de"):
                foreign.add(item["title"])
            good.append(json.dumps(item, ensure_ascii=chance.random() < 0.5))
            lines.append(good[-1])
        if chance.random() < 0.02:
            lines.append(chance.choice(("", "   ", "\r")))
    return Archive(lines, items, duplicates, dead_letters, foreign)


def _item(chance: random.Random, number: int, moment: Any) -> tuple[dict[str, Any], str]:
    in_burst = _BURST <= moment < _BURST + timedelta(hours=6)
    kind = "bad" if in_burst else chance.choices(list(_NEWS), (30, 35, 5, 15, 15))[0]
    if in_burst:
        moment = _BURST + timedelta(seconds=number)
    item: dict[str, Any] = {
        "date_published": moment.isoformat(),
        "source": chance.choice(_SOURCES),
        "language": "en-US",
        "title": _NEWS[kind].format(firm=chance.choice(_FIRMS), n=number),
        "description": _BODY[kind],
        "link": f"https://news.example/{number}",
    }
    for name in ("source", "language", "description", "link"):
        if chance.random() < 0.03:
            del item[name]
    if chance.random() < 0.06:
        date = chance.choice((None, "1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "soon", 5))
        item["date_published"] = date
        if date is None:
            del item["date_published"]
    if chance.random() < 0.05:
        item["unheard_of"] = {"nested": [1, 2]}
    return item, kind
