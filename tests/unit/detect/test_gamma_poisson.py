"""What this detector does beyond what every one keeps to."""

import random

import pytest
from pydantic import ValidationError
from scipy import stats

from pipelines.detect.detectors._season import Season
from pipelines.detect.detectors._statistics import count_z, interval, share_z
from pipelines.detect.detectors.gamma_poisson import Config, GammaPoisson

DAY = 288
WEEK = 7 * DAY
MONDAY = 12 * 168 * 2000  # some bucket in which an hour of the week begins


def test_an_hour_that_is_busy_every_week_is_expected_to_be() -> None:
    def expected(season: bool) -> list[float]:
        detector = GammaPoisson(Config(season=season, share=False))
        for bucket in range(MONDAY, MONDAY + 4 * WEEK):
            detector.advance(bucket)
            is_busy = bucket % DAY < 36
            detector.volume(bucket, 20 if is_busy else 2)
            if bucket % 12 == 0:
                detector.take("oil", bucket, 5 if is_busy else 1, 5)
        found = []
        for after in (30, 150):
            detector.advance(MONDAY + 4 * WEEK + after)
            detector.take("oil", MONDAY + 4 * WEEK + after, 20, 20)
            score = detector.score("oil")
            assert score is not None
            found.append(score.expected)
        return found

    busy, calm = expected(season=True)
    assert busy > 3 * calm
    same, alike = expected(season=False)
    assert same == pytest.approx(alike, rel=0.1)


def test_the_season_of_an_unknown_hour_is_that_of_its_day_then_of_all_hours() -> None:
    season = Season()
    assert season.factor(MONDAY) == 1
    for bucket in range(MONDAY, MONDAY + 3 * DAY):
        season.learn(bucket, 30 if bucket % DAY < 12 else 1, 1.0)
    never_seen = MONDAY + 5 * DAY
    assert season.factor(never_seen) > 3 > 1 > season.factor(never_seen + 20)


def test_hours_that_were_not_observed_say_nothing_of_the_season() -> None:
    heard, deaf = Season(), Season()
    for bucket in range(MONDAY, MONDAY + 2 * DAY):
        heard.learn(bucket, 3, 1.0)
        deaf.learn(bucket, 3 if bucket % DAY < 144 else 0, 1.0 if bucket % DAY < 144 else 0.0)
    assert deaf.factor(MONDAY + 2 * DAY + 200) == pytest.approx(1.0)
    assert heard.factor(MONDAY + 2 * DAY + 200) == pytest.approx(1.0)


def test_late_volumes_count_in_the_season_as_those_in_time() -> None:
    def state(late: int) -> bytes:
        detector = GammaPoisson(Config())
        for bucket in range(MONDAY, MONDAY + 100):
            detector.advance(bucket)
            if bucket - late in range(MONDAY, MONDAY + 90):
                detector.volume(bucket - late, bucket % 7)
        detector.advance(MONDAY + 200)
        return detector.dump()

    assert state(0) == state(7) != state(1)


@pytest.mark.parametrize(("mean", "size"), [(0.05, 0.45), (0.7, 0.5), (12.0, 3.0), (190.0, 3.3)])
def test_the_interval_is_that_of_the_negative_binomial(mean: float, size: float) -> None:
    reference = stats.nbinom(size, size / (size + mean))
    assert interval(mean, size) == (reference.ppf(0.025), reference.ppf(0.975))


def test_the_interval_of_large_counts_is_close() -> None:
    mean, size = 5000.0, 3.0
    reference = stats.nbinom(size, size / (size + mean))
    assert interval(mean, size) == pytest.approx((reference.ppf(0.025), reference.ppf(0.975)), rel=0.03)


def test_deviances_are_zero_where_expected_and_grow_away_from_it() -> None:
    assert count_z(10, 10, 2) == pytest.approx(0, abs=1e-6)
    assert count_z(5, 10, 2) < 0 < count_z(15, 10, 2) < count_z(15, 10, 20) < count_z(16, 10, 20)
    assert share_z(2, 10, 0.2, 0.08) == pytest.approx(0, abs=1e-6)
    assert share_z(1, 10, 0.2, 0.08) < 0 < share_z(5, 10, 0.2, 0.5) < share_z(5, 10, 0.2, 0.08)


def test_a_key_with_usual_peaks_has_to_do_more_than_one_without() -> None:
    detector = GammaPoisson(Config(share=False))
    for day in range(60):
        start = MONDAY + day * DAY
        detector.advance(start)
        detector.take("jumpy", start, 14 if day % 2 else 1, 14)
        detector.take("calm", start, 1, 1)
    detector.advance(MONDAY + 60 * DAY)
    scores = []
    for key in ("jumpy", "calm"):
        detector.take(key, MONDAY + 60 * DAY, 14, 14)
        score = detector.score(key)
        assert score is not None
        scores.append(score)
    jumpy, calm = scores
    assert jumpy.value > 3
    assert jumpy.per_week > 0.5 > calm.per_week
    bar = detector.bar("jumpy")
    assert jumpy.value < bar.usual == bar.score
    assert detector.judge("jumpy") is None
    assert detector.judge("calm") is not None


def test_the_budget_of_all_keys_sets_the_threshold() -> None:
    def alerts(budget: float | None) -> int:
        detector = GammaPoisson(Config(share=False, per_week=1e6, alert_budget_per_week=budget))
        rng = random.Random(7)
        found = 0
        for bucket in range(MONDAY, MONDAY + 8 * WEEK, 6):
            detector.advance(bucket)
            for key in range(20):
                if rng.random() < 0.01:
                    detector.take(str(key), bucket, rng.randint(1, 12), 12)
                    found += detector.judge(str(key)) is not None
        return found

    few, some, many = alerts(0.5), alerts(5), alerts(50)
    assert few < some < many
    assert some / 8 < 3 * 5


def _half_a_day_of_bad_news(detector: GammaPoisson) -> list[bool]:
    fired = []
    for after in (0, 50, 100):
        detector.advance(MONDAY + 3 * WEEK + after)
        detector.take("oil", MONDAY + 3 * WEEK + after, 1, 1)
        fired.append(detector.judge("oil") is not None)
    return fired


def test_bad_news_on_a_key_that_has_hardly_any_is_looked_at_over_half_a_day() -> None:
    first = GammaPoisson(Config())
    first.advance(MONDAY)
    assert _half_a_day_of_bad_news(first) == [False, False, True]
    narrow = GammaPoisson(Config(slow_horizon_min=None))
    narrow.advance(MONDAY)
    assert _half_a_day_of_bad_news(narrow) == [False, False, False]
    often = GammaPoisson(Config())
    for day in range(20):
        often.advance(MONDAY + day * 288)
        often.take("oil", MONDAY + day * 288, 1, 3)
    assert _half_a_day_of_bad_news(often) == [False, False, False]
    assert often.power("oil", 720 * 60) is None
    assert isinstance(first.power("gas", 720 * 60), int)


def test_a_key_that_comes_late_has_all_the_time_before_as_time_without_a_story() -> None:
    def value(age_weight: float) -> float:
        detector = GammaPoisson(Config(age_weight=age_weight))
        detector.advance(MONDAY)
        detector.advance(MONDAY + 8 * WEEK)
        detector.take("new", MONDAY + 8 * WEEK, 4, 4)
        score = detector.score("new")
        assert score is not None
        return score.value

    assert value(1.0) > value(0.5) > value(0.0)


def test_the_preset_for_dense_counts_fires_on_counts_alone() -> None:
    detector = GammaPoisson(Config.dense())
    rng = random.Random(3)
    fired = []
    for bucket in range(MONDAY, MONDAY + 2 * WEEK):
        detector.advance(bucket)
        count = 60 if bucket == MONDAY + WEEK + 500 else rng.randint(0, 8)
        detector.take("mentions", bucket, count, count)
        if detector.judge("mentions"):
            fired.append(bucket - MONDAY - WEEK)
    assert fired == [500]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"horizons_min": ()}, "one or more"),
        ({"horizons_min": (120, 30)}, "ascending"),
        ({"horizons_min": (7, 120)}, "multiples of 5"),
        ({"min_stories": 0}, "greater than 0"),
        ({"slow_horizon_min": 120}, "more than the last"),
        ({"prior_share": 1.5}, "less than 1"),
        ({"theta": 0}, "greater than 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_expected(given: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Config.model_validate(given)


def test_the_version_names_what_differs_from_the_defaults() -> None:
    assert GammaPoisson(Config()).version == "gamma_poisson-1"
    assert GammaPoisson(Config(theta=3.5)).version == "gamma_poisson-1(theta=3.5)"


def test_it_has_to_be_told_the_time_first() -> None:
    with pytest.raises(ValueError, match="advance"):
        GammaPoisson(Config()).take("oil", 1, 1, 1)
