"""Following a promotion while labelling: nothing unlabelled, no mixed calls, and a broken model changes nothing."""

import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor.clock import ManualClock
from monitor.domain.labels import Label
from monitor.errors import ModelError
from pipelines.classify.following import Following
from pipelines.classify.registry import Registry, check
from tests.factories import NOW, make_label
from tests.models import make_model


class Fake:
    """A classifier whose labels bear its version."""

    def __init__(self, version: str) -> None:
        self.version = version

    def label(self, texts: Sequence[str]) -> list[Label]:
        return [make_label(model_version=self.version) for _ in texts]

    def close(self) -> None:
        """Nothing to end."""


class Mislabelling(Fake):
    """Loads well, and fails at its first label."""

    def label(self, texts: Sequence[str]) -> list[Label]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


class Foreign(Fake):
    """Signs its labels with another name."""

    def label(self, texts: Sequence[str]) -> list[Label]:
        return [make_label(model_version="other") for _ in texts]


class Mute(Fake):
    """Gives no label at all."""

    def label(self, texts: Sequence[str]) -> list[Label]:
        return []


class Nan(Fake):
    """Its weights overflowed."""

    def label(self, texts: Sequence[str]) -> list[Label]:
        return [make_label(model_version=self.version, sentiment={"negative": math.nan}) for _ in texts]


class Loading:
    """What stands for reading weights: it notes what was loaded; each version can be held up, or be made to fail."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.fails: dict[str, Callable[[str], Fake]] = {}
        self._begun: dict[str, threading.Event] = {}
        self._may_end: dict[str, threading.Event] = {}

    def hold(self, version: str) -> None:
        self._begun[version], self._may_end[version] = threading.Event(), threading.Event()

    def begun(self, version: str) -> None:
        assert self._begun[version].wait(60)

    def release(self, version: str) -> None:
        self._may_end[version].set()

    def release_all(self) -> None:
        for event in self._may_end.values():
            event.set()

    def __call__(self, folder: Path) -> Fake:
        version = check(folder).version
        self.loaded.append(version)
        if version in self._begun:
            self._begun[version].set()
            assert self._may_end[version].wait(60)
        return self.fails.get(version, Fake)(version)


class Bench:
    """A registry with a shipped model and three more, and what follows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models"
        self.clock = ManualClock(NOW)
        self.registry = Registry(self.folder, self.clock, shipped=make_model(folder / "shipped", "shipped-1"))
        for fill, version in enumerate(("a", "b", "c")):
            self.registry.add(make_model(folder / "new" / version, version, fill=fill))
        self.loading = Loading()
        self._open: list[Following] = []

    def follow(self) -> Following:
        self._open.append(Following(self.registry, self.loading, self.clock))
        return self._open[-1]

    def close(self) -> None:
        self.loading.release_all()
        for following in self._open:
            following.close()

    def truncate(self, version: str) -> None:
        os.truncate(self.folder / version / "model.safetensors", 100)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def versions(following: Following, texts: int = 3) -> list[str]:
    """Who signs each label of a call."""
    return [label.model_version for label in following.label(["Bank fails"] * texts)]


def failing(message: str) -> Callable[[str], Fake]:
    def build(version: str) -> Fake:
        raise OSError(message)

    return build


def test_it_labels_with_the_current_model(bench: Bench) -> None:
    assert versions(bench.follow()) == ["shipped-1"] * 3
    bench.registry.promote("a")
    following = bench.follow()
    assert (following.version, versions(following), following.label([])) == ("a", ["a"] * 3, [])
    assert bench.loading.loaded == ["shipped-1", "a"]


def test_a_promotion_is_followed_and_the_old_model_labels_meanwhile(bench: Bench) -> None:
    following = bench.follow()
    bench.loading.hold("a")
    bench.registry.promote("a")
    with capture_logs() as logs:
        seen = [versions(following)]
        bench.loading.begun("a")
        seen += [versions(following) for _ in range(20)]
        bench.loading.release("a")
        following.wait()
        assert following.version == "a"
        after = [versions(following) for _ in range(3)]
    assert seen == [["shipped-1"] * 3] * 21
    assert after == [["a"] * 3] * 3
    assert bench.loading.loaded == ["shipped-1", "a"]
    assert logs == [{"event": "model_promoted", "log_level": "info", "from": "shipped-1", "to": "a"}]


def test_every_text_is_labelled_through_a_promotion_and_versions_switch_once(bench: Bench) -> None:
    following = bench.follow()
    signed: list[list[str]] = []
    promoted = threading.Event()

    def promote() -> None:
        bench.registry.promote("a")
        promoted.set()

    thread = threading.Thread(target=promote)
    thread.start()
    while not promoted.is_set() or len(signed) < 200:
        signed.append(versions(following, texts=len(signed) % 7))
    thread.join()
    following.label([])
    following.wait()
    signed.append(versions(following))
    assert [len(call) for call in signed[:-1]] == [number % 7 for number in range(len(signed) - 1)]
    assert all(len(set(call)) <= 1 for call in signed)
    flat = [version for call in signed for version in call]
    assert flat == sorted(flat, reverse=True)  # shipped-1 first, then a
    assert set(flat) == {"shipped-1", "a"}


def test_many_threads_may_label_while_one_model_gives_way(bench: Bench) -> None:
    following = bench.follow()
    bench.registry.promote("a")
    start = threading.Barrier(8)
    calls: list[list[str]] = []

    def label() -> None:
        start.wait()
        calls.extend(versions(following) for _ in range(50))

    threads = [threading.Thread(target=label) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    following.wait()
    assert len(calls) == 400
    assert all(call in (["shipped-1"] * 3, ["a"] * 3) for call in calls)
    assert bench.loading.loaded == ["shipped-1", "a"]
    assert versions(following) == ["a"] * 3


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (failing("weights are cursed"), "OSError: weights are cursed"),
        (Mislabelling, "mat1 and mat2"),
        (Foreign, "signs its labels 'other'"),
        (lambda version: Fake("other"), "it calls itself 'other'"),
        (Mute, "ValueError"),
        (Nan, "not numbers"),
    ],
)
def test_a_model_that_cannot_label_is_refused_once_and_the_old_one_stays(
    fails: Callable[[str], Fake], told: str, bench: Bench
) -> None:
    following = bench.follow()
    bench.loading.fails["a"] = fails
    bench.registry.promote("a")
    with capture_logs() as logs:
        for _ in range(5):
            assert versions(following) == ["shipped-1"] * 3
            following.wait()
    assert [(log["event"], log["log_level"], log["version"], log["kept"]) for log in logs] == [
        ("model_refused", "error", "a", "shipped-1")
    ]
    assert told in logs[0]["reason"]
    assert bench.loading.loaded == ["shipped-1", "a"]
    refusal = following.refusal
    assert refusal is not None
    assert (refusal.version, refusal.reason, refusal.at, refusal.kept) == ("a", logs[0]["reason"], NOW, "shipped-1")
    (entry,) = [entry for entry in bench.registry.entries() if entry.refused]
    assert (entry.version, entry.is_current, entry.refused) == ("a", True, refusal)


def test_a_classifier_of_several_models_bears_the_name_of_each(bench: Bench) -> None:
    bench.loading.fails = {"shipped-1": lambda version: Fake(f"{version}+finbert"), "a": lambda _: Fake("finbert+a")}
    following = bench.follow()
    assert versions(following, 1) == ["shipped-1+finbert"]
    bench.registry.promote("a")
    following.label(["x"])
    following.wait()
    assert (versions(following, 1), following.refusal) == (["finbert+a"], None)
    bench.registry.promote("a")  # it is what labels already: nothing to load
    following.label(["x"])
    following.wait()
    assert bench.loading.loaded == ["shipped-1", "a"]


def test_a_model_that_broke_after_its_promotion_is_refused_unread(bench: Bench) -> None:
    following = bench.follow()
    bench.registry.promote("a")
    bench.truncate("a")
    following.label(["x"])
    following.wait()
    assert following.refusal is not None
    assert "model.safetensors" in following.refusal.reason
    assert bench.loading.loaded == ["shipped-1"]
    assert following.version == "shipped-1"


def test_a_refused_model_is_tried_again_when_it_is_promoted_again(bench: Bench) -> None:
    following = bench.follow()
    bench.loading.fails["a"] = failing("not yet")
    bench.registry.promote("a")
    following.label(["x"])
    following.wait()
    del bench.loading.fails["a"]
    bench.registry.promote("a")
    following.label(["x"])
    following.wait()
    assert (versions(following), following.refusal, bench.registry.refused()) == (["a"] * 3, None, None)
    assert bench.registry.rollback() == ("a", "shipped-1")


def test_a_rollback_from_a_refused_model_loads_nothing(bench: Bench) -> None:
    following = bench.follow()
    bench.loading.fails["a"] = failing("no")
    bench.registry.promote("a")
    following.label(["x"])
    following.wait()
    bench.registry.rollback()
    following.label(["x"])
    following.wait()
    assert bench.loading.loaded == ["shipped-1", "a"]
    assert (following.version, following.refusal) == ("shipped-1", None)


def test_a_promotion_while_another_model_is_loading_is_followed_instead(bench: Bench) -> None:
    following = bench.follow()
    bench.loading.hold("a")
    bench.registry.promote("a")
    following.label(["x"])
    bench.loading.begun("a")
    bench.registry.promote("b")
    assert versions(following) == ["shipped-1"] * 3
    with capture_logs() as logs:
        bench.loading.release("a")
        following.wait()
    assert versions(following) == ["b"] * 3
    assert bench.loading.loaded == ["shipped-1", "a", "b"]
    assert [(log["event"], log["from"], log["to"]) for log in logs] == [("model_promoted", "shipped-1", "b")]


def test_a_model_rolled_back_while_it_is_loading_never_labels(bench: Bench) -> None:
    following = bench.follow()
    bench.loading.hold("a")
    bench.registry.promote("a")
    following.label(["x"])
    bench.loading.begun("a")
    bench.registry.rollback()
    bench.loading.release("a")
    following.wait()
    assert versions(following) == ["shipped-1"] * 3
    assert bench.loading.loaded == ["shipped-1", "a"]


def test_a_model_promoted_again_while_it_is_loading_is_loaded_once(bench: Bench) -> None:
    following = bench.follow()
    bench.loading.hold("a")
    bench.registry.promote("a")
    following.label(["x"])
    bench.loading.begun("a")
    bench.registry.promote("a")
    bench.loading.release("a")
    following.wait()
    assert (versions(following), bench.loading.loaded) == (["a"] * 3, ["shipped-1", "a"])


def test_a_failed_model_promoted_again_while_it_is_loading_is_tried_again(bench: Bench) -> None:
    following = bench.follow()
    fails = iter([failing("not yet"), Fake])
    bench.loading.fails["a"] = lambda version: next(fails)(version)
    bench.loading.hold("a")
    bench.registry.promote("a")
    following.label(["x"])
    bench.loading.begun("a")
    bench.registry.promote("a")
    bench.loading.release("a")
    following.wait()
    assert (versions(following), following.refusal) == (["a"] * 3, None)
    assert bench.loading.loaded == ["shipped-1", "a", "a"]


def test_an_unreadable_pointer_is_refused_and_the_old_model_stays(bench: Bench) -> None:
    bench.registry.promote("a")
    following = bench.follow()
    (bench.folder / "current.json").write_text("{")
    with capture_logs() as logs:
        for _ in range(3):
            assert versions(following) == ["a"] * 3
            following.wait()
    assert [log["event"] for log in logs] == ["model_refused"]
    assert "current.json" in logs[0]["reason"]
    (bench.folder / "current.json").unlink()
    following.label(["x"])
    following.wait()
    assert versions(following) == ["shipped-1"] * 3


def test_a_start_falls_back_step_by_step(bench: Bench) -> None:
    for version in ("a", "b", "c"):
        bench.registry.promote(version)
    bench.truncate("c")
    bench.loading.fails["b"] = Mislabelling
    with capture_logs() as logs:
        following = bench.follow()
    assert versions(following) == ["a"] * 3
    assert [(log["event"], log["version"]) for log in logs] == [
        ("model_refused", "b"), ("model_refused", "c"), ("model_loaded", "a"),
    ]  # fmt: skip
    assert (following.refusal is not None, bench.registry.refused()) == (True, following.refusal)
    assert (following.refusal and (following.refusal.version, following.refusal.kept)) == ("c", "a")
    following.wait()
    assert bench.loading.loaded == ["b", "a"]  # what was refused is not tried again at every call


def test_a_start_falls_back_to_the_shipped_model(bench: Bench) -> None:
    bench.registry.promote("a")
    shutil.rmtree(bench.folder / "a")
    assert versions(bench.follow()) == ["shipped-1"] * 3
    (bench.folder / "current.json").write_text("{")
    assert versions(bench.follow()) == ["shipped-1"] * 3


def test_a_start_without_any_model_names_each_reason(bench: Bench) -> None:
    bench.registry.promote("a")
    bench.loading.fails = {"a": failing("cursed"), "shipped-1": Mislabelling}
    with pytest.raises(ModelError) as caught:
        bench.follow()
    assert "a: it cannot be loaded: OSError: cursed" in str(caught.value)
    assert "shipped-1: it cannot be loaded: RuntimeError: mat1" in str(caught.value)
    refused = bench.registry.refused()
    assert refused is not None
    assert (refused.version, refused.kept) == ("a", None)


def test_a_start_with_an_empty_registry_says_what_to_do(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models", ManualClock(NOW), shipped=tmp_path / "none")
    with pytest.raises(ModelError, match="monitor models add"):
        Following(registry, Loading(), ManualClock(NOW))


def test_a_start_that_goes_well_forgets_an_old_refusal(bench: Bench) -> None:
    bench.registry.promote("a")
    bench.loading.fails["a"] = failing("no")
    bench.follow()
    assert bench.registry.refused() is not None
    del bench.loading.fails["a"]
    assert bench.follow().version == "a"
    assert bench.registry.refused() is None


def test_a_registry_that_cannot_be_written_does_not_keep_anyone_from_labelling(bench: Bench) -> None:
    bench.registry.promote("a")
    following = bench.follow()
    bench.loading.fails["b"] = failing("no")
    bench.registry.promote("b")
    (bench.folder / ".refused.json.new").mkdir()  # in the way
    with capture_logs() as logs:
        following.label(["x"])
        following.wait()
    assert [log["event"] for log in logs] == ["model_refused", "refusal_not_saved"]
    assert versions(following) == ["a"] * 3


def test_closing_ends_the_loading_and_follows_no_more(bench: Bench) -> None:
    following = bench.follow()
    bench.loading.hold("a")
    bench.registry.promote("a")
    following.label(["x"])
    bench.loading.begun("a")
    closer = threading.Thread(target=following.close)
    closer.start()
    bench.loading.release("a")
    closer.join()
    following.close()
    assert "model-loader" not in {thread.name for thread in threading.enumerate()}
    assert versions(following) == ["a"] * 3
    bench.registry.promote("b")
    assert versions(following) == ["a"] * 3
    assert bench.loading.loaded == ["shipped-1", "a"]
