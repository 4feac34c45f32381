"""A report is made anew from its own `index.json`, without the runs it was made of."""

import json
from pathlib import Path

import pytest

from reincarnate.errors import UserError
from reincarnate.report import load_published, title_of
from reincarnate.report.published import load_all
from reincarnate.studies.overview import report_study

STUDIES = Path(__file__).parents[1] / "studies"


def test_a_report_made_of_its_own_json_has_the_same_numbers(tmp_path):
    kept = (STUDIES / "nature" / "index.json").read_bytes()
    (tmp_path / "index.json").write_bytes(kept)
    report_study(tmp_path, quiet=True)
    assert json.loads((tmp_path / "index.json").read_text()) == json.loads(kept)
    page = (tmp_path / "index.html").read_text()
    assert f"<h1>{json.loads(kept)['title']}</h1>" in page and 'href="' not in page.partition("Every run")[2]


def test_a_studys_folder_is_told_by_its_runs_even_where_all_are_gone(tmp_path):
    for name in ("index.json", "study.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=r"nothing there or below holds a config\.json"):
        load_all([tmp_path])


def test_an_older_title_is_that_of_the_page_beside_it(tmp_path):
    (tmp_path / "index.json").write_text('{"format": 1, "runs": []}')
    assert title_of(tmp_path / "index.json") == ""
    (tmp_path / "index.html").write_text("<body><h1>A &amp; B</h1>")
    assert title_of(tmp_path / "index.json") == "A & B"


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"format": 1}', "no field 'runs'"),
        ('{"format": 1, "runs": []}', "holds no run"),
        ('{"format": 1, "runs": [{"label": "a"}]}', "an older report"),
        ('{"format": 1, "runs": [3]}', "a list of objects"),
        ('{"format": 1, "runs": [{"label": 1, "config": {}, "result": {}, "curve": []}]}', "a text and two objects"),
        ('{"format": 9, "runs": []}', "reads format 1"),
    ],
)
def test_what_is_no_report_is_one_line(text, said, tmp_path):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        load_published(tmp_path / "index.json")
    assert said in str(error.value)
