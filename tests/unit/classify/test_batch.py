"""Which texts go through the device together."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.classify.batch import plan

lengths_of_texts = st.lists(st.integers(1, 128), max_size=300)


@given(lengths_of_texts, st.integers(1, 4096), st.integers(0, 500))
def test_every_text_is_in_exactly_one_batch(lengths: list[int], max_tokens: int, call_tokens: int) -> None:
    planned = plan(lengths, max_tokens=max_tokens, call_tokens=call_tokens)
    assert sorted(at for batch in planned.batches for at in batch) == list(range(len(lengths)))


@given(lengths_of_texts, st.integers(1, 4096), st.integers(0, 500))
def test_no_batch_costs_more_than_its_budget_unless_one_text_does(
    lengths: list[int], max_tokens: int, call_tokens: int
) -> None:
    planned = plan(lengths, max_tokens=max_tokens, call_tokens=call_tokens)
    for batch in planned.batches:
        padded = len(batch) * max(lengths[at] for at in batch)
        assert padded <= max_tokens or len(batch) == 1
        assert padded - sum(lengths[at] for at in batch) <= call_tokens


@given(lengths_of_texts, st.integers(0, 500))
def test_the_longest_come_first_so_that_memory_runs_out_at_once_or_not_at_all(
    lengths: list[int], call_tokens: int
) -> None:
    planned = plan(lengths, max_tokens=512, call_tokens=call_tokens)
    order = [lengths[at] for batch in planned.batches for at in batch]
    assert order == sorted(lengths, reverse=True)


@given(st.lists(st.integers(1, 128), min_size=1, max_size=300), st.integers(0, 500))
def test_waste_is_the_padded_share(lengths: list[int], call_tokens: int) -> None:
    planned = plan(lengths, max_tokens=1024, call_tokens=call_tokens)
    padded = sum(len(batch) * max(lengths[at] for at in batch) for batch in planned.batches)
    assert planned.tokens == sum(lengths)
    assert abs(planned.waste - (padded - sum(lengths)) / padded) < 1e-12


def test_texts_of_one_length_waste_nothing() -> None:
    assert plan([7] * 100, max_tokens=70, call_tokens=0).waste == 0
    assert plan([], max_tokens=70, call_tokens=0).waste == 0


def test_a_dear_call_is_worth_padding_and_a_cheap_one_is_not() -> None:
    mixed = [100, 50, 10] * 10
    assert len(plan(mixed, max_tokens=100_000, call_tokens=0).batches) == 3
    assert len(plan(mixed, max_tokens=100_000, call_tokens=100_000).batches) == 1
