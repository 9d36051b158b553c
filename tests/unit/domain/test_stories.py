"""When a story is new to a key."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.stories import MEMORY_S, FirstTold, keys_of
from monitor.domain.windows import ALL, Key

DAY = MEMORY_S
_told = st.lists(
    st.tuples(st.floats(0, 4 * DAY), st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()), max_size=40
)


def test_a_story_counts_again_once_it_was_not_told_for_a_day_and_as_bad_news_from_its_first_bad_article() -> None:
    told = FirstTold()
    articles = [(0.0, False), (1.0, True), (2.0, True), (DAY - 1, False), (DAY + 1.5, True), (2 * DAY + 2, True)]
    assert [told.take("oil", "a", at, negative=negative) for at, negative in articles] == [
        (1, 0), (0, 1), (0, 0), (0, 0), (0, 0), (1, 1),
    ]  # fmt: skip
    assert told.take("gas", "a", 2 * DAY + 2, negative=True) == (1, 1)


@given(_told)
def test_what_was_told_more_than_a_day_ago_need_not_be_remembered(articles: list[tuple[float, str, str, bool]]) -> None:
    articles.sort()
    whole = FirstTold()
    counted = [whole.take(key, story, at, negative=negative) for at, key, story, negative in articles]
    for cut, (now, *_) in enumerate(articles):
        later = FirstTold()
        for at, key, story, negative in articles[:cut]:
            if at >= now - DAY:
                later.take(key, story, at, negative=negative)
        rest = [later.take(key, story, at, negative=negative) for at, key, story, negative in articles[cut:]]
        assert rest == counted[cut:]


@given(_told)
def test_copies_never_count(articles: list[tuple[float, str, str, bool]]) -> None:
    once, twice = FirstTold(), FirstTold()
    for at, key, story, negative in sorted(articles):
        assert once.take(key, story, at, negative=negative) == twice.take(key, story, at, negative=negative)
        assert twice.take(key, story, at, negative=negative) == (0, 0)


def test_only_what_a_model_has_read_counts_on_topics_and_names() -> None:
    title = "They moved to Delmar Steel"
    assert keys_of("wire", None, title, "") == [ALL, Key("source", "wire")]
    assert keys_of("wire", "Energy", title, "")[2:] == [Key("topic", "Energy"), Key("entity", "Delmar Steel")]
