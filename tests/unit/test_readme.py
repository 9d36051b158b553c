"""The README speaks of the code as it is."""

import re
import tomllib
from pathlib import Path

from tests import docs

ROOT = docs.README.parent


def test_the_generated_parts_are_what_the_code_says() -> None:
    text = docs.README.read_text(encoding="utf-8")
    for marker in docs.generated():
        assert f"<!-- {marker} -->\n" in text
        assert f"<!-- end of {marker} -->\n" in text
    assert text == docs.render(text), "run `make docs`"


def test_every_command_and_every_setting_is_in_it() -> None:
    text = docs.README.read_text(encoding="utf-8")
    assert "`monitor replay FILES... [--speed SPEED]" in text
    assert "`alerts.group_wait_s`" in text
    assert "`timeout_s`" in text  # of a plugin


def test_it_opens_with_the_two_commands() -> None:
    text = docs.README.read_text(encoding="utf-8")
    first_block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert first_block is not None
    assert [line.split("#")[0].strip() for line in first_block.group(1).splitlines()] == ["make run", "make test"]


def test_its_toml_examples_are_toml() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", docs.README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        assert tomllib.loads(block)


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(((?!https?:)[^)#]+)\)", docs.README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / Path(link)).exists()] == []
