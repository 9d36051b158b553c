"""Labels: three that every alert has, those of the file by key, those of the rules."""

from pathlib import Path
from typing import Any

from alerts.labels import Labels
from monitor.alert_settings import AlertSettings
from monitor.domain.spikes import Severity
from monitor.domain.windows import ALL, Key

STEEL = Key("entity", "Delmar Steel")


def labels(key: Key = STEEL, **settings: Any) -> dict[str, str]:
    return Labels(AlertSettings.model_validate(settings)).of(key, Severity.SEVERE)


def companies(folder: Path) -> str:
    path = folder / "companies.csv"
    path.write_text("sector,key,desk\nMaterials,DELMAR steel,metals\n Energy ,Brunt Oil,\n", encoding="utf-8-sig")
    return str(path)


def test_every_alert_has_three() -> None:
    assert labels() == {"kind": "entity", "key": "Delmar Steel", "severity": "severe"}
    assert labels(ALL) == {"kind": "all", "key": "all", "severity": "severe"}


def test_a_file_has_more_by_key_whatever_its_capitals(tmp_path: Path) -> None:
    found = labels(labels_file=companies(tmp_path))
    assert found == {
        "kind": "entity", "key": "Delmar Steel", "severity": "severe", "sector": "Materials", "desk": "metals",
    }  # fmt: skip


def test_an_empty_cell_is_no_label(tmp_path: Path) -> None:
    found = labels(Key("entity", "Brunt Oil"), labels_file=companies(tmp_path))
    assert found["sector"] == "Energy"
    assert "desk" not in found
    assert "sector" not in labels(Key("entity", "Somebody"), labels_file=companies(tmp_path))


def test_rules_see_what_came_before_and_the_later_wins(tmp_path: Path) -> None:
    rules = [
        {"matchers": ['sector="Materials"'], "set": {"desk": "risk", "floor": "2"}},
        {"matchers": ['desk="risk"', 'severity=~"severe|critical"'], "set": {"floor": "3"}},
        {"matchers": ['desk="metals"'], "set": {"floor": "4"}},
        {"set": {"region": "EU"}},
    ]
    found = labels(labels_file=companies(tmp_path), labels=rules)
    assert (found["desk"], found["floor"], found["region"]) == ("risk", "3", "EU")
    assert labels(labels=rules) == {"kind": "entity", "key": "Delmar Steel", "severity": "severe", "region": "EU"}


def test_a_rule_may_take_a_label_away(tmp_path: Path) -> None:
    rules = [{"matchers": ["severity!=critical"], "set": {"desk": ""}}]
    assert "desk" not in labels(labels_file=companies(tmp_path), labels=rules)
