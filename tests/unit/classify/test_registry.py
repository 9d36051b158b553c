"""The registry: what it refuses, and that a version or a promotion is there whole or not at all."""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.clock import ManualClock
from monitor.errors import BusyError, ModelError
from pipelines.classify.heads import id2label
from pipelines.classify.registry import Refusal, Registry, check
from tests.factories import NOW
from tests.models import SHAPES, make_config, make_model, make_weights

ROOT = Path(__file__).parents[3]


class Bench:
    """A registry with a shipped model, and folders to add."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models"
        self.outside = folder
        self.shipped = make_model(folder / "shipped", "shipped-1")
        self.clock = ManualClock(NOW)
        self.registry = self.another()

    def another(self, **options: Any) -> Registry:
        """As another process would open it."""
        return Registry(self.folder, self.clock, shipped=self.shipped, **options)

    def add(self, *versions: str) -> None:
        for version in versions:
            self.registry.add(make_model(self.outside / "new" / version, version, fill=len(version)))

    def listed(self) -> dict[str, bool]:
        return {entry.version: entry.is_current for entry in self.another().entries()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for name in names[:-1]:
            value = value[name]
        del value[names[-1]]

    return change


def to(given: Any, *names: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for name in names[:-1]:
            value = value[name]
        value[names[-1]] = given

    return change


def test_a_card_says_what_the_folder_says(tmp_path: Path) -> None:
    card = check(make_model(tmp_path / "m", "mini-1.0_b"))
    assert (card.version, card.max_tokens, card.temperature) == ("mini-1.0_b", 128, {"topic": 1.25, "sentiment": 0.9})
    assert card.parameters == 4 * 2 + 23 * 2 + 23


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(lacking: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "a")
    (folder / lacking).unlink()
    with pytest.raises(ModelError, match=lacking.replace(".", r"\.")) as caught:
        check(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("monitor"), "config.json: monitor: Field required"),
        (without("model_type"), "model_type"),
        (without("id2label", "22"), "id2label 22 is None; expected 'sentiment:positive'"),
        (to("topic:Weather", "id2label", "3"), "id2label 3 is 'topic:Weather'"),
        (to("topic:Weather", "id2label", "23"), "24 labels; expected 23"),
        (to("x", "id2label", "three"), "id2label.three"),
        (without("monitor", "temperature", "sentiment"), "temperature lacks sentiment"),
        (to(0, "monitor", "temperature", "topic"), "temperature.topic"),
        (to(-1.5, "monitor", "temperature", "topic"), "temperature.topic"),
        (to(float("inf"), "monitor", "temperature", "topic"), "temperature.topic"),
        (to("1.5", "monitor", "temperature", "topic"), "temperature.topic"),
        (to(True, "monitor", "temperature", "topic"), "temperature.topic"),
        (to(0, "monitor", "max_tokens"), "max_tokens"),
        (to(513, "monitor", "max_tokens"), "max_tokens is 513; the model has 512 positions"),
        (without("monitor", "version"), "monitor.version"),
    ],
)
def test_a_wrong_configuration_is_refused(change: Callable[[dict[str, Any]], None], told: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "a")
    rewrite(folder / "config.json", change)
    with pytest.raises(ModelError) as caught:
        check(folder)
    assert told in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "version",
    ["", ".", "..", "../a", "a/b", "a\\b", "a b", ".adding", "a\0", "a\n", "é", "x" * 101, "current.json", "Shipped"],
)
def test_a_version_must_be_fit_for_a_folders_name(version: str, bench: Bench) -> None:
    with pytest.raises(ModelError, match="cannot name a folder"):
        bench.registry.add(make_model(bench.outside / "m", version))
    assert bench.listed() == {"shipped-1": True}


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (b"", "no safetensors header"),
        (b"\x80\x02}q\x00.", "no safetensors header"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        ((2).to_bytes(8, "little") + b"[]", "not an object"),
        ((2).to_bytes(8, "little") + b"{]", "not JSON"),
        (make_weights() + b"\0", "not copied whole"),
        (make_weights({"classifier.weight": [3, 2]}), "no classifier layer with 23 outputs"),
        (make_weights({"encoder.weight": [23, 2]}), "no classifier layer with 23 outputs"),
        (make_weights().replace(b'"shape": [23, 2]', b'"shape": [23, 3]'), "contradicts itself at classifier.weight"),
        (make_weights().replace(b'"dtype": "F32"', b'"dtype":  5   '), "dtype"),
        (make_weights().replace(b"[4, 2]", b"[4,-2]".ljust(6)), "encoder.weight"),
    ],
)
def test_wrong_weights_are_refused(weights: bytes, told: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "a")
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError) as caught:
        check(folder)
    assert told in str(caught.value)
    assert "model.safetensors" in str(caught.value)


def test_a_download_that_was_cut_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    folder, whole = make_model(tmp_path / "m", "a"), make_weights()
    for length in range(len(whole)):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"model\.safetensors"):
            check(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
            lambda value: json.dumps(value).encode()
        ),
        st.binary(min_size=1, max_size=20).map(lambda noise: make_weights()[: -len(noise)] + noise),
        st.integers(0, 200).map(lambda at: make_weights()[:at] + b"9" + make_weights()[at + 1 :]),
    )
)
def test_any_content_is_taken_or_refused_with_a_reason(name: str, content: bytes, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "m", ignore_errors=True)
    folder = make_model(tmp_path / "m", "a")
    (folder / name).write_bytes(content)
    try:
        assert check(folder).version == "a"
    except ModelError as error:
        assert name in str(error)  # noqa: PT017  either way is right


def test_any_model_type_and_head_name_will_do(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "a", model_type="roberta")
    for name in ("classifier.out_proj.weight", "score.weight"):
        (folder / "model.safetensors").write_bytes(make_weights({name: SHAPES["classifier.weight"]}))
        assert check(folder).version == "a"


def test_the_shipped_model_is_current_until_another_is_promoted(bench: Bench) -> None:
    assert bench.listed() == {"shipped-1": True}
    assert bench.registry.current() == "shipped-1"
    assert bench.registry.open("shipped-1") == bench.shipped
    bench.add("a")
    assert bench.listed() == {"shipped-1": True, "a": False}
    assert bench.registry.promote("a") == ("shipped-1", "a")
    assert bench.listed() == {"shipped-1": False, "a": True}
    assert bench.another().current() == "a"


def test_nothing_shipped_and_nothing_added(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models", ManualClock(NOW), shipped=tmp_path / "none")
    assert registry.entries() == []
    with pytest.raises(ModelError, match="monitor models add"):
        registry.current()
    with pytest.raises(ModelError, match="no way back"):
        registry.rollback()
    registry.add(make_model(tmp_path / "m", "a"))
    assert registry.promote("a") == (None, "a")
    with pytest.raises(ModelError, match="no way back"):
        registry.rollback()


def test_what_is_added_is_the_models_files_readable_by_all(bench: Bench) -> None:
    source = make_model(bench.outside / "m", "a", metrics={"topic": {"accuracy": 0.5}})
    (source / "model.safetensors").chmod(0o600)
    source.chmod(0o700)
    for name in ("topic.png", "checkpoint-9/model.safetensors", ".git/HEAD", "training_args.bin", "modeling.py"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("x")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    bench.registry.add(source)
    copy = bench.folder / "a"
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "metrics.json",
        "topic.png", "registry.json",
    }  # fmt: skip
    ordinary = bench.outside / "ordinary"
    ordinary.mkdir()
    assert stat.S_IMODE(copy.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)
    assert (copy / "model.safetensors").stat().st_mode == (copy / "registry.json").stat().st_mode
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    (entry,) = [entry for entry in bench.registry.entries() if entry.version == "a"]
    assert (entry.added_at, entry.is_shipped, entry.metrics, entry.fault) == (NOW, False, {"topic.accuracy": 0.5}, None)


def test_a_version_is_never_overwritten(bench: Bench) -> None:
    bench.add("a")
    held = (bench.folder / "a/model.safetensors").read_bytes()
    other = make_model(bench.outside / "m", "a", fill=9)
    with pytest.raises(ModelError, match="version 'a' is taken"):
        bench.registry.add(other)
    with pytest.raises(ModelError, match="version 'shipped-1' is taken"):
        bench.registry.add(make_model(bench.outside / "s", "shipped-1"))
    assert (bench.folder / "a/model.safetensors").read_bytes() == held


def test_a_broken_folder_leaves_no_trace(bench: Bench) -> None:
    source = make_model(bench.outside / "m", "a")
    (source / "plot.png").symlink_to(bench.outside / "nowhere")
    with pytest.raises(ModelError, match="cannot be copied"):
        bench.registry.add(source)
    assert bench.listed() == {"shipped-1": True}
    assert sorted(path.name for path in bench.folder.iterdir()) == ["registry.lock"]
    (source / "plot.png").unlink()
    bench.registry.add(source)
    assert "a" in bench.listed()


def test_an_unknown_version_is_refused_with_those_that_exist(bench: Bench) -> None:
    bench.add("a")
    for version in ("b", "..", "", ".adding", "a/../a"):
        with pytest.raises(ModelError, match="there are: shipped-1, a"):
            bench.registry.promote(version)
    assert bench.listed() == {"shipped-1": True, "a": False}


def test_a_version_that_decayed_is_listed_so_and_not_promoted(bench: Bench) -> None:
    bench.add("cut", "changed", "renamed", "strange")
    damages: dict[str, Callable[[Path], object]] = {
        "cut": lambda folder: os.truncate(folder / "model.safetensors", 300),
        "changed": lambda folder: (folder / "model.safetensors").write_bytes(make_weights(fill=99)),
        "renamed": lambda folder: rewrite(folder / "config.json", to("other", "monitor", "version")),
        "strange": lambda folder: (folder / "registry.json").unlink(),
    }
    for version, damage in damages.items():
        damage(bench.folder / version)
    faults = {entry.version: entry.fault or "" for entry in bench.registry.entries()}
    assert "not copied whole" in faults["cut"] or "no safetensors header" in faults["cut"]
    assert "expected 'renamed'" in faults["renamed"]
    assert "monitor models add" in faults["strange"]
    assert faults["changed"] == ""  # only its whole content tells
    for version, told in (
        ("cut", "bytes|header"),
        ("changed", "SHA-256"),
        ("renamed", "'other'"),
        ("strange", "lacks"),
    ):
        with pytest.raises(ModelError, match=told):
            bench.registry.promote(version)
    assert bench.registry.current() == "shipped-1"


def test_a_current_version_that_is_gone_is_listed_as_gone(bench: Bench) -> None:
    bench.add("a")
    bench.registry.promote("a")
    shutil.rmtree(bench.folder / "a")
    (entry,) = [entry for entry in bench.registry.entries() if entry.version == "a"]
    assert entry.is_current
    assert "no longer here" in (entry.fault or "")
    assert bench.registry.candidates() == ("a", "shipped-1")
    with pytest.raises(ModelError, match="there are: shipped-1"):
        bench.registry.open("a")


def test_steps_back_lead_to_the_shipped_model(bench: Bench) -> None:
    bench.add("a", "b")
    for version in ("a", "b", "a"):
        bench.clock.set(bench.clock.now() + timedelta(hours=1))
        bench.registry.promote(version)
    assert bench.registry.candidates() == ("a", "b", "shipped-1")
    assert [bench.registry.rollback() for _ in range(3)] == [("a", "b"), ("b", "a"), ("a", "shipped-1")]
    with pytest.raises(ModelError, match="no way back"):
        bench.registry.rollback()
    history = json.loads((bench.folder / "current.json").read_text())["history"]
    assert [step["version"] for step in history] == ["shipped-1", "a", "b", "a"]
    assert [step["rolled_back_at"] is None for step in history] == [True, False, False, False]


def test_a_step_back_to_a_broken_version_is_refused(bench: Bench) -> None:
    bench.add("a", "b")
    bench.registry.promote("a")
    bench.registry.promote("b")
    os.truncate(bench.folder / "a/model.safetensors", 9)
    with pytest.raises(ModelError, match=r"models/a: model\.safetensors"):
        bench.registry.rollback()
    assert bench.registry.current() == "b"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(moves=st.lists(st.sampled_from(["a", "b", "shipped-1", "back"]), max_size=12))
def test_promotions_and_steps_back_are_a_stack(moves: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = Bench(tmp_path_factory.mktemp("stack"))
    bench.add("a", "b")
    stack = ["shipped-1"]
    for move in moves:
        if move != "back":
            bench.registry.promote(move)
            stack += [move] if move != stack[-1] else []
        elif len(stack) > 1:
            assert bench.registry.rollback() == (stack[-1], stack[-2])
            stack.pop()
        else:
            with pytest.raises(ModelError, match="no way back"):
                bench.registry.rollback()
        assert bench.another().current() == stack[-1]
        assert [version for version, current in bench.listed().items() if current] == [stack[-1]]


def test_every_promotion_changes_the_mark(bench: Bench) -> None:
    bench.add("a", "b")
    marks = [bench.registry.mark()]
    moves: tuple[Callable[[], object], ...] = (
        lambda: bench.registry.promote("a"), lambda: bench.registry.promote("b"), bench.registry.rollback,
    )  # fmt: skip
    for move in moves:
        move()
        marks.append(bench.another().mark())
    assert marks[0] is None
    assert len(set(marks)) == 4
    bench.registry.entries()
    assert bench.registry.mark() == marks[-1]


def test_promotions_at_once_are_all_in_the_history(bench: Bench) -> None:
    versions = [f"v{number}" for number in range(8)]
    bench.add(*versions)
    start = threading.Barrier(len(versions))

    def promote(version: str) -> None:
        registry = bench.another()
        start.wait()
        registry.promote(version)

    threads = [threading.Thread(target=promote, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = json.loads((bench.folder / "current.json").read_text())
    assert sorted(step["version"] for step in pointer["history"]) == ["shipped-1", *versions]
    assert pointer["current"] == pointer["history"][-1]["version"]


def test_one_of_two_that_add_the_same_version_wins(bench: Bench) -> None:
    sources = [make_model(bench.outside / f"m{fill}", "a", fill=fill) for fill in (1, 2)]
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def add(source: Path) -> None:
        registry = bench.another()
        start.wait()
        try:
            registry.add(source)
        except ModelError as error:
            outcomes.append(str(error))
        else:
            outcomes.append("added")

    threads = [threading.Thread(target=add, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1] == "added"
    assert "taken" in sorted(outcomes)[0]
    bench.registry.promote("a")


def test_a_lock_held_for_too_long_is_told(bench: Bench) -> None:
    bench.add("a")
    with FileLock(bench.folder / "registry.lock"), pytest.raises(BusyError, match="try later"):
        bench.another(patience_s=0).promote("a")


_KILLED = """
import os, pathlib, sys
sys.path.insert(0, {root!r})
from monitor.clock import SystemClock
from pipelines.classify import registry
{patch}
registry.Registry(pathlib.Path({folder!r}), SystemClock(), shipped=pathlib.Path({shipped!r})).{call}
"""
_DIE = "lambda *_, **__: os._exit(9)"


def killed(bench: Bench, patch: str, call: str) -> None:
    """Runs the call in a process that dies where the patch says."""
    script = _KILLED.format(
        root=str(ROOT), folder=str(bench.folder), shipped=str(bench.shipped), patch=patch, call=call
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9, done.stderr


@pytest.mark.parametrize(
    "patch",
    [
        f"registry.shutil.copyfile = {_DIE}",
        f"registry._digest = {_DIE}",
        f"pathlib.Path.rename = {_DIE}",
    ],
)
def test_a_killed_add_adds_nothing_and_is_in_nobodys_way(patch: str, bench: Bench) -> None:
    source = make_model(bench.outside / "m", "a")
    bench.add("b")
    killed(bench, patch, f"add(pathlib.Path({str(source)!r}))")
    assert (bench.folder / ".adding").exists()
    assert bench.listed() == {"shipped-1": True, "b": False}
    bench.registry.add(source)
    bench.registry.promote("a")
    assert not (bench.folder / ".adding").exists()


def test_a_killed_promotion_leaves_the_old_one(bench: Bench) -> None:
    bench.add("a", "b")
    bench.registry.promote("a")
    mark = bench.registry.mark()
    killed(bench, f"pathlib.Path.replace = {_DIE}", "promote('b')")
    assert (bench.registry.current(), bench.registry.mark()) == ("a", mark)
    assert bench.registry.promote("b") == ("a", "b")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"current": 3, "history": []}'])
def test_an_unreadable_pointer_is_told_with_the_way_out(content: bytes, bench: Bench) -> None:
    bench.add("a")
    bench.registry.promote("a")
    (bench.folder / "current.json").write_bytes(content)
    asks: tuple[Callable[[], object], ...] = (
        bench.registry.entries, bench.registry.current, lambda: bench.registry.promote("a"),
    )  # fmt: skip
    for ask in asks:
        with pytest.raises(ModelError, match=r"current\.json.*delete it to be back at the shipped model"):
            ask()
    (bench.folder / "current.json").unlink()
    assert bench.registry.current() == "shipped-1"


def test_a_refusal_is_shown_until_the_version_is_promoted_again(bench: Bench) -> None:
    bench.add("a", "b")
    bench.registry.promote("a")
    refusal = Refusal(version="a", reason="no such layer", at=NOW, kept="shipped-1")
    bench.registry.refuse(refusal)
    assert {entry.version: entry.refused for entry in bench.another().entries()} == {
        "shipped-1": None, "a": refusal, "b": None,
    }  # fmt: skip
    bench.registry.promote("b")
    assert bench.registry.refused() == refusal
    bench.registry.promote("a")
    assert bench.registry.refused() is None


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({"topic": {"accuracy": 0.8, "macro_f1": 0.7}, "sentiment": {"accuracy": 0.9}},
         {"topic.accuracy": 0.8, "topic.macro_f1": 0.7, "sentiment.accuracy": 0.9}),
        ({"headline": {"topic": {"macro_f1": 0.7, "rows": 5}}}, {"topic.macro_f1": 0.7}),
        ({"topic": 3, "sentiment": {"accuracy": "good"}}, {}),
        ([1], {}),
    ],
)  # fmt: skip
def test_metrics_are_shown_as_far_as_there_are_any(metrics: Any, shown: dict[str, float], bench: Bench) -> None:
    bench.registry.add(make_model(bench.outside / "m", "a", metrics=metrics))
    (entry,) = [entry for entry in bench.registry.entries() if entry.version == "a"]
    assert entry.metrics == shown


def test_a_shipped_model_that_is_broken_is_listed_as_broken(bench: Bench) -> None:
    (bench.shipped / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (entry,) = bench.registry.entries()
    assert (entry.version, entry.is_current, "git lfs pull" in (entry.fault or "")) == ("shipped-1", True, True)
    (bench.shipped / "config.json").write_text("{")
    (entry,) = bench.registry.entries()
    assert (entry.version, entry.is_current, "not JSON" in (entry.fault or "")) == ("shipped", True, True)


def test_labels_are_those_of_the_heads() -> None:
    assert make_config("a")["id2label"] == {str(index): label for index, label in id2label().items()}
