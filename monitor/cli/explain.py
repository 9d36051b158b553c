"""The command that shows which words made a label."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic_core import to_jsonable_python
from rich.text import Text

from monitor.cli import output
from monitor.cli.evaluate import Renamed, find_model, mapping
from monitor.cli.output import AsJson, print_json
from monitor.errors import ConfigError, Mistake
from pipelines.classify.heads import HEADS, Head
from pipelines.classify.text import normalise

if TYPE_CHECKING:
    from pipelines.classify.explain import Explanation, Word

_LIKELIEST = 5
_FAINTEST = 0.1  # words below this share of the strongest one are left plain
_FOR, _AGAINST = "cyan", "yellow"


class Asked(StrEnum):
    """Which heads to explain."""

    BOTH = "both"
    TOPIC = "topic"
    SENTIMENT = "sentiment"


def register(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="One text.")],
    head: Annotated[Asked, typer.Option(help="Which label to explain.")] = Asked.BOTH,
    label: Annotated[str | None, typer.Option(help="Explain this label instead of the one the text gets.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file, too.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model folder, a version in the list of models, or OWNER/NAME; default: the current version."
        ),
    ] = None,
    renamed: Renamed = None,
    as_json: AsJson = False,
) -> None:
    """Show which words speak for a label, and which against it."""
    if not normalise(text):
        raise ConfigError("command line", [Mistake("TEXT", "expected words; nothing is left without links and marks")])
    wanted = _wanted(head, label)
    meanings = mapping(renamed)
    place = find_model(context, model)

    from pipelines.classify.explain import explain as why
    from pipelines.classify.models._network import Network

    network = Network.load(place, labels=meanings, device="cpu", precision="fp32")
    answered = {known.name for known in network.heads}
    if head is Asked.BOTH:
        wanted = {known: name for known, name in wanted.items() if known.name in answered} or wanted
    found = [why(network, text, known, label=name) for known, name in wanted.items()]
    if html is not None:
        try:
            html.write_text(page(found), encoding="utf-8")
        except OSError as error:
            expected = f"a file that can be written: {error.strerror or error}"
            raise ConfigError("command line", [Mistake("--html", expected)]) from error
    if as_json:
        print_json(to_jsonable_python(found))
        return
    for item in found:
        show(item)


def page(found: "list[Explanation]") -> str:
    """One HTML document that fetches nothing; all outside text in it is escaped."""
    return _TEMPLATES.get_template("explanation.html.j2").render(explanations=found)


def show(found: "Explanation") -> None:
    """The text in colours; signs after the words say the same without."""
    line = Text()
    for word, depth in _shaded(found):
        if word.weight is None:
            line.append(word.text, style="dim strike")
        elif depth == 0:
            line.append(word.text)
        else:
            style = _FOR if word.weight > 0 else _AGAINST
            line.append(word.text, style=f"bold {style}" if depth > 0.5 else style)
            line.append(f"({_signs(word, depth)})", style=f"dim {style}")
        line.append(" ")
    share = found.probabilities[found.label]
    output.console.print(Text(f"{found.head}: {found.label}, {100 * share:.1f} %", style="bold"))
    output.console.print(line)
    unread = sum(word.weight is None for word in found.words)
    cut = f"; words at the end that the model does not read: {unread}" if unread else ""
    output.console.print(
        Text(
            f"+ speaks for it, - against it; log-odds {found.baseline:+.2f} without a word, "
            f"{found.log_odds:+.2f} with all, error {found.delta:+.4f}; {found.model_version}{cut}\n",
            style="dim",
        )
    )


def _wanted(head: Asked, label: str | None) -> dict[Head, str | None]:
    """Which heads to explain, and for which label. A label of one head only leaves the other one out."""
    asked = [known for known in HEADS if head in (known.name, Asked.BOTH)]
    if label is None:
        return dict.fromkeys(asked)
    for known in asked:
        for name in known.labels:
            if name.casefold() == label.casefold():
                return {known: str(name)}
    expected = ", ".join(str(name) for known in asked for name in known.labels)
    raise ConfigError("command line", [Mistake("--label", f"expected one of: {expected}")])


def _shaded(found: "Explanation") -> "list[tuple[Word, float]]":
    """Each word with its strength beside that of the strongest, in [0, 1]; the faintest have 0."""
    strongest = max((abs(word.weight) for word in found.words if word.weight is not None), default=0.0) or 1.0
    depths = (abs(word.weight or 0.0) / strongest for word in found.words)
    return [(word, depth if depth >= _FAINTEST else 0.0) for word, depth in zip(found.words, depths, strict=True)]


def _signs(word: "Word", depth: float) -> str:
    """One to three signs, by strength."""
    return ("+" if (word.weight or 0.0) > 0 else "-") * (1 + (depth > 1 / 3) + (depth > 2 / 3))


def _likeliest(found: "Explanation") -> list[tuple[str, float]]:
    return sorted(found.probabilities.items(), key=lambda item: -item[1])[:_LIKELIEST]


_TEMPLATES = Environment(
    loader=PackageLoader("monitor.cli"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(shaded=_shaded, signs=_signs, likeliest=_likeliest)
