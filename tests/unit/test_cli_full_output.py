"""Standard output that takes no more: one line, never a stack trace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


def run(folder: Path, *arguments: str, out: str, unbuffered: bool = False) -> tuple[int, str]:
    """The exit code, and what it says on standard error."""
    (folder / "config.toml").write_text("")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    if unbuffered:
        environment["PYTHONUNBUFFERED"] = "1"
    with Path(out).open("wb") as file:
        ended = subprocess.run(
            [sys.executable, "-m", "monitor", "-c", str(folder / "config.toml"), *arguments],
            stdout=file, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment, check=False, timeout=60,
        )  # fmt: skip
    return ended.returncode, ended.stderr


@pytest.mark.skipif(not FULL.exists(), reason="no file here that is always full")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("arguments", [("detect", "--csv", "b.csv"), ("alerts", "--json"), ("--help",)])
def test_full_output_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, ...], unbuffered: bool) -> None:
    (tmp_path / "b.csv").write_text("timestamp,value\n2026-03-02,1\n")
    assert run(tmp_path, *arguments, out=str(FULL), unbuffered=unbuffered) == (
        1,
        "monitor: standard output: No space left on device\n",
    )


def test_a_reader_that_has_gone_is_no_news(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(tmp_path, "alerts", "--json", out=f"/dev/fd/{writing}") == (1, "")
    finally:
        os.close(writing)


def test_other_errors_of_files_are_not_those_of_the_output(tmp_path: Path) -> None:
    code, told = run(tmp_path, "-c", str(tmp_path / "none.toml"), "alerts", out=os.devnull)
    assert code == 2
    assert "standard output" not in told
