"""The weights that are shipped: what no analyst would dispute, and the daemon that follows a promotion."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monitor.domain.labels import Label, Sentiment, Topic
from pipelines.classify.folder import check
from pipelines.classify.models.transformer import Config, Transformer, assemble
from pipelines.classify.registry import SHIPPED
from tests.acceptance.command import Daemon, Workplace, until
from tests.acceptance.serving import Answer, Web

CASES = [
    ("Brightwell Foods slashes profit forecast as costs soar", Sentiment.NEGATIVE, None),
    ("Hargrove Bank shares plunge 30% after it halts withdrawals", Sentiment.NEGATIVE, Topic.STOCK_MOVEMENT),
    ("Regulator fines Carden Insurance $90 million for misleading customers", Sentiment.NEGATIVE, Topic.LEGAL),
    ("Tallis Motors recalls 2 million cars and suspends its dividend", Sentiment.NEGATIVE, None),
    ("Goldman cuts Norvex to sell, sees further downside", Sentiment.NEGATIVE, Topic.ANALYST_UPDATE),
    ("Company files for bankruptcy as debts mount", Sentiment.NEGATIVE, None),
    ("Operating loss widened to EUR 14.2 million from EUR 3.1 million a year earlier", Sentiment.NEGATIVE, None),
    ("Quarterly profit doubles and beats forecasts, shares hit record high", Sentiment.POSITIVE, None),
    ("Morgan Stanley upgrades Lindqvist to overweight, raises price target", Sentiment.POSITIVE, Topic.ANALYST_UPDATE),
    ("Net profit rose to USD 52 mn, compared with USD 37 mn in the previous year", Sentiment.POSITIVE, None),
    ("Board raises quarterly dividend by 10%", None, Topic.DIVIDEND),
    ("Federal Reserve holds interest rates steady", None, Topic.CENTRAL_BANKS),
    ("Oil settles higher as OPEC+ extends output cuts", None, Topic.ENERGY),
    ("The annual general meeting will be held in Stockholm on 3 May", Sentiment.NEUTRAL, None),
    ("Dollar weakens against yen and euro", None, Topic.CURRENCIES),
    ("Chief financial officer steps down, successor named", None, Topic.PERSONNEL),
    ("US consumer prices rise 0.4% in June, unemployment rate at 4%", None, Topic.MACRO),
]
NOT_YET = ("Software maker prices its initial public offering at $21 a share", None, Topic.IPO)


@pytest.fixture(scope="module")
def shipped() -> Transformer:
    return assemble(Config(threads=1), SHIPPED)


@pytest.fixture(scope="module")
def labels(shipped: Transformer) -> list[Label]:
    return shipped.label([text for text, _, _ in CASES])


@pytest.mark.parametrize("at", range(len(CASES)), ids=[text[:40] for text, _, _ in CASES])
def test_what_no_analyst_would_dispute(labels: list[Label], at: int) -> None:
    _, sentiment, topic = CASES[at]
    assert sentiment in (None, labels[at].top_sentiment)
    assert topic in (None, labels[at].top_topic)


@pytest.mark.xfail(reason="44 rows of IPO in the training set; it takes pricings for company news", strict=True)
def test_a_pricing_is_an_initial_public_offering(shipped: Transformer) -> None:
    assert shipped.label([NOT_YET[0]])[0].top_topic == NOT_YET[2]


def test_case_does_not_matter(shipped: Transformer, labels: list[Label]) -> None:
    upper = shipped.label([text.upper() for text, _, _ in CASES])
    assert [label.top_sentiment for label in upper] == [label.top_sentiment for label in labels]


def test_neighbours_do_not_matter(shipped: Transformer, labels: list[Label]) -> None:
    for (text, _, _), together in zip(CASES, labels, strict=True):
        alone = shipped.label([text])[0]
        np.testing.assert_allclose(
            list(alone.sentiment.values()), list(together.sentiment.values()), atol=0.02, err_msg=text
        )


@pytest.mark.parametrize(
    "text", ["", " \n ", "🚀" * 50, "\x00\x01\x02", "word " * 200_000, "Zażółć gęślą jaźń", "\ud83d", "%s{}[]<b>&amp;"]
)
def test_no_text_breaks_it(shipped: Transformer, text: str) -> None:
    (label,) = shipped.label([text])
    assert sum(label.topic.values()) == pytest.approx(1, abs=1e-4)


def test_the_folder_is_whole_small_and_explained() -> None:
    stated = check(SHIPPED)
    assert all(0.3 < value < 3 for value in stated.temperature.values())
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 50_000_000
    card = (SHIPPED / "MODEL_CARD.md").read_text()
    assert stated.version in card
    assert "MIT" in card
    assert json.loads((SHIPPED / "metrics.json").read_text())["headline"]


def test_commands_that_label_nothing_do_not_load_torch() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import sys, monitor.cli, monitor.app; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout.strip() == "False"


def feed(*titles: str) -> Answer:
    items = "".join(f"<item><title>{title}</title><guid>{title}</guid></item>" for title in titles)
    return Answer(f"<rss version='2.0'><channel><title>t</title>{items}</channel></rss>".encode())


def test_a_running_daemon_follows_a_promotion_and_keeps_what_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITOR_CLASSIFIER__KIND", "transformer")
    monkeypatch.setenv("MONITOR_CLASSIFIER__PRECISION", "fp32")
    second = tmp_path / "second"
    shutil.copytree(SHIPPED, second)
    config = json.loads((second / "config.json").read_text())
    config["monitor"]["version"] = "second"
    (second / "config.json").write_text(json.dumps(config))
    with Web() as web:
        web.answers["/feed.xml"] = feed("Bank halts withdrawals number 0")
        place = Workplace(
            tmp_path / "place",
            f"[feeds.wire]\nurl = '{web.url}/feed.xml'\ninterval_s = 0.2\n[ingest]\nmin_interval_s = 0.2\n"
            "[http]\nallow_private_addresses = true\n",
        )
        count = 0

        def versions() -> set[str]:
            return {item["model_version"] for item in place.ask("headlines", "--limit", "1000")}

        def more() -> set[str]:
            nonlocal count
            count += 1
            web.answers["/feed.xml"] = feed(*(f"Bank halts withdrawals number {n}" for n in range(count + 1)))
            return versions()

        with Daemon(place):
            first = until(versions, "a label")
            assert place.call("models", "add", str(second)).code == 0
            assert place.call("models", "promote", "second").code == 0
            until(more, "a label of the promoted model", lambda found: "second" in found)
            weights = place.folder / "data" / "models" / "second" / "model.safetensors"
            weights.chmod(0o644)
            assert place.call("models", "rollback").code == 0
            until(more, "a label after the roll-back", lambda _: _newest(place) in first)
            weights.write_bytes(weights.read_bytes()[:1000])
            assert place.call("models", "promote", "second").code == 2
            before = count
            until(more, "labels go on", lambda _: count > before + 3)
        assert versions() == first | {"second"}
        assert place.rows("SELECT count(*) FROM article WHERE id NOT IN (SELECT article_id FROM label)") == [(0,)]


def _newest(place: Workplace) -> str:
    return str(place.ask("headlines", "--limit", "1")[0]["model_version"])
