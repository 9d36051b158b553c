"""Made-up newswire sentences whose labels are known, to learn formal announcements from.

The labelled texts are posts. What an announcement says is often in its figures alone, and which of them is the newer:
no word of "Net profit was EUR 8.7 mn compared with EUR 13.1 mn a year earlier" is negative. The frames and the
vocabulary are in _newswire.toml.
"""

import functools
import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from monitor.domain.labels import Sentiment, Topic
from monitor.errors import InvariantError
from pipelines.classify.text import normalise
from pipelines.training.rows import Row

SHARES: Final = {Sentiment.NEUTRAL: 0.45, Sentiment.POSITIVE: 0.30, Sentiment.NEGATIVE: 0.25}
CLEAR: Final = 1.04  # ratio of two figures from which one is plainly the larger
LEVEL: Final = 1.005  # ratio up to which they are as good as the same

_COMPARED: Final = {Sentiment.NEUTRAL: 0.3, Sentiment.POSITIVE: 0.4, Sentiment.NEGATIVE: 0.4}  # shares told in figures
_ATTEMPTS: Final = 1_000
_OPPOSITE: Final = {Sentiment.POSITIVE: Sentiment.NEGATIVE, Sentiment.NEGATIVE: Sentiment.POSITIVE}
_TOKEN: Final = re.compile(r"[\[\]|]|\{\w+\}|[^\[\]|{}]+")
_ARTICLE: Final = re.compile(r"\b([Aa])\(n\) (?=\W*(\w+))")
_AN: Final = re.compile(r"(?:[aeio]|u(?!s\b|n[ai]|tilit|k)|(?-i:[AEFHILMNORSX][A-Z])|8|11\b|18\b)", re.IGNORECASE)
_START: Final = re.compile(r"(?:^|(?<=[.?!] ))[a-z]")
_HEAD: Final = re.compile(r" (?:per|of|in|from|as|at|for) ")

Part = str | tuple["Choice", ...]
Choice = tuple[Part, ...]  # pieces in a row; a str of the form {name} is looked up


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that is reported and compared.

    Units: `unit` is a name in [units]; `up` is what a rise means.
    """

    name: str
    unit: str
    up: Sentiment
    topic: Topic | None
    owner: str

    def verdict(self, new: float, old: float) -> Sentiment:
        """What the change from `old` to `new` means. Both are positive."""
        if max(new, old) < min(new, old) * CLEAR:
            return Sentiment.NEUTRAL
        return self.up if new > old else _OPPOSITE[self.up]


@dataclass(frozen=True, slots=True)
class Family:
    """Frames about one subject, by the sentiment they carry."""

    topic: Topic | None
    weight: float
    frames: Mapping[Sentiment, Sequence[Choice]]


@dataclass(frozen=True, slots=True)
class Grammar:
    """_newswire.toml, parsed. `compared` holds the frames for two figures, by the case they are fit for."""

    once: frozenset[str]
    words: Mapping[str, Sequence[Choice]]
    metrics: Sequence[Metric]
    units: Mapping[str, Mapping[str, Any]]
    compared: Mapping[str, Sequence[Choice]]
    families: Sequence[Family]


@functools.cache
def grammar() -> Grammar:
    """The shipped grammar. Raises: InvariantError, if it is not well-formed."""
    tables = tomllib.loads(resources.files(__package__).joinpath("_newswire.toml").read_text(encoding="utf-8"))
    words = {name: _parse(text) for name, text in tables["words"].items()}
    compared = {case: _lines(text) for case, text in tables["compare"].items() if not case.startswith(("tot", "then"))}
    for name in ("tot", "tot_money", "then_of"):
        words[name] = _parse(tables["compare"][name])
    words |= {f"owner_{name}": _parse(text) for name, text in tables["owners"].items()}
    metrics = [
        Metric(name, table["unit"], Sentiment(table["up"]), _topic(table), _owner(table))
        for table in tables["metrics"].values()
        for name in table["names"].split("|")
    ]
    families = [
        Family(_topic(table), table["weight"], {kind: _lines(table[kind]) for kind in Sentiment if kind in table})
        for table in tables["frames"].values()
    ]
    return Grammar(frozenset(tables["once"]), words, metrics, tables["units"], compared, families)


def sentences(count: int, seed: int) -> list[Row]:
    """`count` different texts, normalised and labelled, the same for the same seed.

    Raises: InvariantError if the frames do not yield as many.
    """
    rng = random.Random(seed)
    found: dict[str, Row] = {}
    for _ in range(count):
        for _ in range(_ATTEMPTS):
            row = _row(rng)
            if row.text.lower() not in found:
                found[row.text.lower()] = row
                break
        else:
            raise InvariantError(f"the newswire frames yield no more than {len(found)} texts; this is a bug")
    return list(found.values())


def compare(metric: Metric, new: float, old: float, rng: random.Random) -> Row:
    """A text that says `metric` was `old` and is now `new`, in a random frame; the figures alone decide the label."""
    writer = _Writer(rng)
    return _finish(*_comparison(metric, new, old, writer), writer, rng)


def _row(rng: random.Random) -> Row:
    sentiment = rng.choices(list(SHARES), list(SHARES.values()))[0]
    writer = _Writer(rng)
    if rng.random() < _COMPARED[sentiment]:
        metric = rng.choice(grammar().metrics)
        new, old = _figures(metric, sentiment, rng)
        alone = sentiment is Sentiment.NEUTRAL and rng.random() < 0.6
        return _finish(*_comparison(metric, new, old, writer, alone=alone), writer, rng)
    families = [family for family in grammar().families if sentiment in family.frames]
    family = rng.choices(families, [family.weight for family in families])[0]
    frames = family.frames[sentiment]
    text = _tidy(writer.write(rng.choice(frames)))
    if rng.random() < 0.08:  # a title and its summary, which goes on in the same vein
        second = _tidy(writer.write(rng.choice(frames)))
        if second.lower() != text.lower():
            text = f"{text.rstrip('.')}. {second}"
    return _finish(text, family.topic, sentiment, writer, rng)


def _finish(text: str, topic: Topic | None, sentiment: Sentiment, writer: "_Writer", rng: random.Random) -> Row:
    """The row, its text at times with a dateline before it and plain facts after it; these say nothing of the label."""
    post = topic is Topic.STOCK_COMMENTARY
    if not post and rng.random() < 0.12:
        text = f"{text.rstrip('.')}. {_tidy(writer.say('about'))}"
    if not post and rng.random() < 0.4 and text[-1] not in ".?!":
        text += "."
    if not post and text[0] != "$" and rng.random() < 0.08:
        place = writer.say("city")
        date = rng.choice((f" ({writer.say('wire')})", f", {writer.say('date')}", ""))
        text = f"{place.upper() if rng.random() < 0.7 else place}{date} {rng.choice('-–—')} {text}"
    return Row(normalise(text), topic, sentiment)


def _comparison(
    metric: Metric, new: float, old: float, writer: "_Writer", *, alone: bool = False
) -> tuple[str, Topic | None, Sentiment]:
    """The text and its labels. `alone` leaves the old figure unsaid, and so is for figures that are level."""
    rng, sentiment = writer.rng, metric.verdict(new, old)
    cases = ["single"] if alone else ["either"]
    if metric.owner == "company" and not alone:
        cases.append("company")
    if sentiment is Sentiment.NEUTRAL:
        cases += [] if alone else ["level"]
    else:
        way = "up" if new > old else "down"
        cases.append(way)
        if metric.unit in ("money", "each", "count"):
            cases.append(f"{way}_by")
    case = rng.choices(cases, [6.0 if case == "either" else 2.0 for case in cases])[0]
    head = _HEAD.split(metric.name)[0]
    be = "were" if head.endswith("s") and not head.endswith(("ss", "EPS", "is")) else "was"
    now, _, then = writer.say("pair").partition("~")
    shown_new, shown_old = _shown(metric.unit, (new, old), rng)
    change = writer.dressed("percent", f"{abs(new / old - 1) * 100:.{rng.randint(0, 1)}f}")
    writer.known |= {
        "m": metric.name, "bare": metric.name.removeprefix("the "), "be": be, "singly": be, "now": now, "then": then,
        "new": shown_new, "old": shown_old, "change": change,
    }  # fmt: skip
    if metric.unit == "money":
        writer.known["tot"] = writer.say("tot_money")
    writer.known["M"] = writer.say(f"owner_{metric.owner}")
    return _tidy(writer.write(rng.choice(grammar().compared[case]))), metric.topic, sentiment


def _figures(metric: Metric, wanted: Sentiment, rng: random.Random) -> tuple[float, float]:
    """Two figures that mean `wanted`. Their sizes do not depend on it."""
    unit = grammar().units[metric.unit]
    low, high = unit["low"], unit["high"]
    base = low * (high / low) ** rng.random()
    if wanted is Sentiment.NEUTRAL:
        pair = base, base * rng.uniform(1.0, LEVEL)
        return rng.choice((pair, pair[::-1], (base, base)))
    stretch = 1.05 + min(rng.expovariate(4.0), 2.0)
    smaller, larger = base / stretch**0.5, base * stretch**0.5
    return (larger, smaller) if (wanted is metric.up) else (smaller, larger)


def _shown(unit: str, figures: tuple[float, float], rng: random.Random) -> tuple[str, str]:
    """Both figures in one dress, with decimals enough that they differ if they plainly do."""
    low = min(figures)
    decimals = {"count": 0, "each": 2}.get(unit, 0 if low >= 100 and rng.random() < 0.5 else rng.choice((1, 1, 2)))
    while decimals < 6 and max(figures) >= low * CLEAR and round(figures[0], decimals) == round(figures[1], decimals):
        decimals += 1
    dress = rng.choice(grammar().units[unit]["dress"].split("|"))
    grouping = rng.choice((",", ",", ""))
    new, old = (dress.replace("#", f"{figure:{grouping}.{decimals}f}") for figure in figures)
    return new, old


class _Writer:
    """Writes one text. What it has named once it calls by the same name again; figures keep one dress."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.known: dict[str, str] = {"year": str(rng.randint(2004, 2026))}
        year = int(self.known["year"])
        self.known |= {"last": str(year - 1), "next": str(year + rng.randint(1, 7))}
        self._dress: dict[str, str] = {}

    def write(self, pieces: Choice) -> str:
        return "".join(self._piece(piece) for piece in pieces)

    def say(self, name: str) -> str:
        """What stands for `{name}`."""
        if name in self.known:
            return self.known[name]
        words = grammar().words
        if name == "other":
            said = _company(self)
            while said == self.known.get("co"):
                said = _company(self)
        elif name == "bare_asset":
            said = self.say("asset").removeprefix("the ")
        elif name in words:
            said = self.write(self.rng.choice(words[name]))
        else:
            said = self._made(name)
        if name in grammar().once:
            self.known[name] = said
        return said

    def dressed(self, unit: str, figure: str) -> str:
        dress = self._dress.setdefault(unit, self.rng.choice(grammar().units[unit]["dress"].split("|")))
        return dress.replace("#", figure)

    def _piece(self, piece: Part) -> str:
        if isinstance(piece, tuple):
            return self.write(self.rng.choice(piece))
        return self.say(piece[1:-1]) if piece[0] == "{" else piece

    def _made(self, name: str) -> str:
        rng = self.rng
        match name:
            case "co":
                return _company(self)
            case "person":
                return f"{self.say('given')} {_root(self)}"
            case "money":
                return self.dressed("money", f"{1.5 * 2000 ** rng.random():,.{rng.randint(0, 2)}f}")
            case "eps":
                return self.dressed("each", f"{0.05 * 180 ** rng.random():.2f}")
            case "pct":
                return self.dressed("percent", f"{0.6 * 60 ** rng.random():.{rng.randint(0, 1)}f}")
            case "percent_word":
                return self.dressed("percent", "").strip()
            case "px":
                return self.dressed("price", f"{3 * 1500 ** rng.random():,.{rng.randint(0, 2)}f}")
            case "rate":
                return f"{0.5 * 300 ** rng.random():.{rng.choice((2, 3, 4))}f}"
            case "bps":
                return str(rng.choice((5, 10, 15, 20, 25, 25, 40, 50, 50, 75, 100)))
            case "big":
                return f"{round(60 * 800 ** rng.random()):{rng.choice((',', ''))}}"
            case "int":
                return str(rng.randint(2, 19))
            case "int2":
                return str(rng.randint(31, 66))
            case "founded":
                return str(rng.randint(1868, 1995))
            case "date":
                day, month = rng.randint(1, 28), rng.choice(grammar().words["month"])[0]
                return rng.choice((f"{day} {month}", f"{month} {day}", f"{month} {day}, {self.known['year']}"))
            case "ticker":
                return "$" + "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.choice((3, 4, 4))))
        raise InvariantError(f"_newswire.toml: nothing stands for {{{name}}}; this is a bug")


def _root(writer: _Writer) -> str:
    return "".join(writer.say("syllables") for _ in range(writer.rng.choice((2, 2, 3)))).capitalize()


def _company(writer: _Writer) -> str:
    rng = writer.rng
    name = _root(writer) if rng.random() < 0.7 else writer.say("stems")
    if " " in name or rng.random() < 0.35 or name in {found[0] for found in grammar().words["stems"]}:
        name = f"{name} {writer.say('branches')}"
    return name if rng.random() < 0.45 else f"{name} {writer.say('suffixes')}"


def _topic(table: Mapping[str, Any]) -> Topic | None:
    return Topic(table["topic"]) if "topic" in table else None


def _owner(table: Mapping[str, Any]) -> str:
    if table["unit"] == "price":
        return "price"
    return "economy" if _topic(table) is Topic.MACRO else "company"


def _lines(text: str) -> list[Choice]:
    return [choice for line in text.strip().splitlines() for choice in _parse(line)]


def _parse(text: str) -> tuple[Choice, ...]:
    """The choices that `text` offers at its outermost level."""
    tokens = _TOKEN.findall(text.replace("\n", ""))
    choices, rest = _choices(tokens, 0)
    if rest != len(tokens) or "".join(tokens) != text.replace("\n", ""):
        raise InvariantError(f"_newswire.toml: brackets do not match in {text!r}; this is a bug")
    return choices


def _choices(tokens: Sequence[str], at: int) -> tuple[tuple[Choice, ...], int]:
    found: list[Choice] = []
    pieces: list[Part] = []
    while at < len(tokens) and tokens[at] != "]":
        if tokens[at] == "|":
            found.append(tuple(pieces))
            pieces = []
        elif tokens[at] == "[":
            inner, at = _choices(tokens, at + 1)
            pieces.append(inner)
        else:
            pieces.append(tokens[at])
        at += 1
    return (*found, tuple(pieces)), at


def _tidy(text: str) -> str:
    """Spaces, commas, articles and capitals as print has them."""
    text = " ".join(text.split())
    text = re.sub(r" ([,;:.?)])", r"\1", text)
    text = re.sub(r"^[,;:.\s]+|(?<=\()\s+|[,;:]+$", "", text)
    text = re.sub(r",(?=[,;.])|,(?= \()", "", text).replace("()", "")
    text = _ARTICLE.sub(lambda found: found[1] + ("n " if _AN.match(found[2]) else " "), " ".join(text.split()))
    return _START.sub(lambda found: found[0].upper(), text)
