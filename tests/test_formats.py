"""The page on formats names every setting that a record may hold."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from reincarnate.methods import METHODS
from reincarnate.methods.weaning import Weaning
from reincarnate.run.settings import Run
from reincarnate.students import STUDENTS

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
SETTINGS = {"run": Run, "wean": Weaning} | {
    f"{registry.one} {name}": registry[name] for registry in (METHODS, STUDENTS) for name in registry
}


def named(page: str) -> set[str]:
    """What stands in backticks in the section on `config.json`."""
    section = page.split("\n### config.json\n")[1].split("\n### metrics.jsonl\n")[0]
    return set(re.findall(r"`([^`\n]+)`", section))


@pytest.mark.parametrize("kind", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_is_on_the_page(kind):
    assert {f.name for f in fields(kind)} <= named(PAGE.read_text())


def test_every_method_and_student_is_on_the_page():
    assert {*METHODS, *STUDENTS} <= named(PAGE.read_text())


def test_a_setting_that_is_taken_off_the_page_is_missed():
    page = PAGE.read_text()
    assert "stop_at" in named(page) and "stop_at" not in named(page.replace("`stop_at`", ""))
