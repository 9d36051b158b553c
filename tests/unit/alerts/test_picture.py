"""The picture of a trend: the same bytes, small, and not to be broken by a name."""

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image

from alerts import picture, trend
from alerts.picture import draw
from monitor.domain.alerts import Event, History, Notification
from monitor.domain.windows import ALL, Key
from tests import mails
from tests.factories import NOW, make_alert, make_notification, make_spike

ORANGE, BLUE = (192, 86, 33), (76, 120, 168)


def _shown(notification: Notification) -> tuple[Image.Image, int]:
    """The picture and its length in bytes."""
    written = draw(notification)
    assert written is not None
    with Image.open(io.BytesIO(written)) as image:
        assert (image.format, image.text) == ("PNG", {})  # type: ignore[attr-defined]  # no name of a program, no time
        return image.convert("RGB"), len(written)


def _share(image: Image.Image, colour: tuple[int, int, int]) -> float:
    """Of the picture's dots, those of about this colour."""
    distance = np.abs(np.asarray(image, dtype=int) - np.array(colour)).max(axis=2)
    return float((distance < 12).mean())


def _history(counts: list[int], heard: list[bool] | None = None, width_s: int = 1800, key: Key = ALL) -> History:
    start = NOW - timedelta(seconds=width_s * len(counts))
    return History(
        key=key, start=start, width_s=width_s, negative=tuple(counts), heard=tuple(heard or [True] * len(counts))
    )


def test_equal_notifications_give_equal_bytes_in_any_thread() -> None:
    with ThreadPoolExecutor(3) as threads:
        drawn = list(threads.map(draw, [mails.firing()] * 3))
    assert drawn[0] is not None
    assert set(drawn) == {draw(mails.firing())}


def test_it_is_twice_as_wide_as_shown_and_small() -> None:
    image, length = _shown(mails.firing())
    assert image.width == 2 * picture.WIDTH_PX
    assert length < 30_000


def test_the_bars_of_the_window_stand_out() -> None:
    image, _ = _shown(make_notification(history=_history([2] * 47 + [14])))
    assert _share(image, BLUE) > 0.02
    assert _share(image, ORANGE) > 0.005
    calm, _ = _shown(make_notification(event=Event.TEST, alerts=(), history=_history([2] * 47 + [14])))
    assert _share(calm, ORANGE) == 0


def test_what_nobody_heard_is_no_count() -> None:
    heard, _ = _shown(make_notification(history=_history([9] * 48)))
    deaf, _ = _shown(make_notification(history=_history([9] * 48, [False] * 48)))
    assert _share(heard, BLUE) > 0.2
    assert _share(deaf, BLUE) == 0
    assert np.asarray(deaf).mean() < 250, "it is hatched, not blank"


@pytest.mark.parametrize(
    ("buckets", "width_s"),
    [(1, 300), (3, 3600), (288, 300), (2016, 300), (60, 86_400)],
)
def test_any_history_fits_a_mail(buckets: int, width_s: int) -> None:
    counts = [(7 * place) % 19 for place in range(buckets)]
    heard = [place % 3 > 0 for place in range(buckets)]
    _, length = _shown(make_notification(history=_history(counts, heard, width_s)))
    assert length < 60_000


@pytest.mark.parametrize(
    "name", ["$x_{1}$ Corp", "三菱UFJ銀行", "وكالة", "🏦" * 50, "\x00\x1b[2J", "x" * 10_000, "{{ 7 }}"]
)
def test_no_name_breaks_it(name: str) -> None:
    key = Key("entity", name)
    alert = make_alert(spikes=(make_spike(key=key),))
    image, length = _shown(make_notification(alerts=(alert,), history=_history([1, 2, 14], key=key)))
    assert image.width == 2 * picture.WIDTH_PX
    assert length < 60_000


def test_without_a_history_there_is_none() -> None:
    assert draw(make_notification()) is None
    assert draw(make_notification(history=_history([]))) is None
    assert trend.in_words(make_notification()) is None


def test_the_words_say_what_it_shows() -> None:
    heard = [place >= 4 for place in range(48)]
    said = trend.in_words(make_notification(history=_history([9, 9, 9, 9] + [1] * 43 + [14], heard)))
    assert said == (
        "All news: negative stories per 30 min, 2026-03-03 11:00 to 2026-03-04 11:00 UTC: at most 14, 57 in all;"
        " 2.1 per 30 min expected in the window 10:30 to 11:00; nobody listened for 2 h"
    )


def test_only_who_draws_loads_matplotlib() -> None:
    code = "import sys, alerts.render; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
