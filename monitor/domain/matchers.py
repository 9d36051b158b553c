"""Matchers: what Alertmanager writes as `severity="critical"`, `key!="all"`, `sector=~"Fin.*"`, `desk!~"a|b"`.

Source: the matchers of Prometheus Alertmanager, with UTF-8 names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast, get_args

import re2
from pydantic import PlainSerializer, PlainValidator

Op = Literal["=", "!=", "=~", "!~"]

_BARE = r"""[^\s{}!=~,\\"'`]+"""
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_MATCHER = re.compile(rf"\s*({_QUOTED}|{_BARE})\s*(=~|!=|!~|=)\s*({_QUOTED}|{_BARE})\s*", re.DOTALL)
_ESCAPE = re.compile(r'\\([\\"n])')
_ESCAPED = {"\\": "\\", '"': '"', "n": "\n"}


@dataclass(frozen=True, order=True)
class Matcher:
    """One condition on one label. A label that is missing counts as empty.

    Regular expressions must match the whole value. They are run by RE2, in time linear in the value: no expression and
    no label can make a process hang. RE2 knows neither look-around nor back-references.

    Raises: ValueError, if the expression is none.
    """

    name: str
    op: Op
    value: str
    # Kept here, not in a cache of some size: silences come by the thousand, and each is asked about every alert.
    _expression: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a matcher needs the name of a label")
        if self.op not in get_args(Op):
            raise ValueError(f"unknown operator {self.op!r}; expected one of: {', '.join(get_args(Op))}")
        if self.op in ("=~", "!~"):
            try:
                object.__setattr__(self, "_expression", compiled(self.value))
            except ValueError as error:
                raise ValueError(f"no {error}") from None

    def matches(self, labels: Mapping[str, str]) -> bool:
        found = labels.get(self.name, "")
        if self.op in ("=", "!="):
            return (found == self.value) is (self.op == "=")
        # RE2 reads UTF-8; half a surrogate pair, which a feed may contain, has no form in it.
        text = found.encode("utf-8", "replace").decode()
        return (self._expression.fullmatch(text) is not None) is (self.op == "=~")

    def __str__(self) -> str:
        name = self.name if re.fullmatch(_BARE, self.name) else _quote(self.name)
        return f"{name}{self.op}{_quote(self.value)}"


def parse(text: str) -> Matcher:
    r"""The matcher that is written so. Quotes may be left out around a simple word; in them `\"`, `\\` and `\n` are
    escapes, and any other backslash stands for itself.

    Raises: ValueError, which says what is wrong.
    """
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(
            f'no matcher: {text[:200]!r}; expected label="value" with =, !=, =~ or !~, '
            "the value in double quotes unless it is a simple word"
        )
    return Matcher(_unquote(found[1]), cast("Op", found[2]), _unquote(found[3]))


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher does; none at all match everything."""
    return all(matcher.matches(labels) for matcher in matchers)


def _read(given: Any) -> Matcher:
    if isinstance(given, Matcher):
        return given
    if not isinstance(given, str):
        raise ValueError('expected a matcher such as severity="critical"')  # noqa: TRY004  # pydantic collects these
    return parse(given)


MatcherText = Annotated[Matcher, PlainValidator(_read), PlainSerializer(str, return_type=str)]
"""A matcher in the configuration, where it is text."""


def compiled(pattern: str, *, case_sensitive: bool = True) -> Any:
    """An expression of RE2: run in time linear in the text, whatever it is.

    Raises: ValueError, if it is none; its text says what it is no example of, and why.
    """
    options = re2.Options()
    options.case_sensitive = case_sensitive
    options.log_errors = False  # or RE2 writes them to standard error as well
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if error.args else "unknown"
        raise ValueError(f"regular expression of RE2: {pattern[:200]!r}: {why}") from None
    except UnicodeEncodeError:
        raise ValueError(f"regular expression of RE2: {pattern[:200]!r}: not UTF-8") from None


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], text[1:-1])
