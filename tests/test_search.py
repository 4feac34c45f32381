"""A study that searches: settings from a population on seeds of its own, then the runs that are reported."""

import json
from pathlib import Path

import pytest

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.report import json_of
from reincarnate.run.settings import Run
from reincarnate.studies import matrix, read_study, run_study, search

STUDY = """
title: searched
seeds: 1
search: {population: 2, seed: 100, pbt: {explores: [student.lr]}}
run:
  env_steps: 80
  evaluations: 2
  eval_episodes: 2
  final_episodes: 2
  reference_episodes: 2
  log: ""
  student: {hidden: [8], warmup: 20, batch_size: 8}
tasks:
  - env: CartPole-v1
methods:
  scratch: {}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(STUDY)
    return tmp_path


class Here:
    """An executor without processes."""

    def __call__(self, units, out, watch):
        from reincarnate.studies.units import work

        return {k: v for unit in units for k, v in work(unit, out, lambda *_: None).items()}


def test_settings_are_looked_for_on_seeds_of_their_own_and_found_once(here, monkeypatch, capsys):
    run_study(read_study(Path("study.yaml")), Path("out"), executor=Here())
    members = [json.loads((here / f"out/search/CartPole-v1/scratch/s{s}/result.json").read_text()) for s in (100, 101)]
    best = max(members, key=lambda one: one["score"])
    told = json.loads(Path("out/study.json").read_text())["found"]["CartPole-v1/scratch"]
    assert told["settings"] == best.get("changed", {}) and told["env_steps"] == 160 and told["seed"] in (100, 101)
    config = json.loads(Path("out/CartPole-v1/scratch-s0/config.json").read_text())
    assert config["student"]["lr"] == best.get("changed", {"student.lr": 1e-4})["student.lr"]
    assert "population" not in config and json.loads(json_of(Path("out")).read_text())
    said = " ".join(capsys.readouterr().err.split())
    assert "searched for in 160 env steps, which are not counted below" in said
    monkeypatch.setattr(search, "execute_together", pytest.fail)
    run_study(read_study(Path("study.yaml")), Path("out"), executor=Here())  # nothing is trained again


def test_the_best_members_settings_become_the_runs():
    found = search.with_settings(Run("CartPole-v1", matrix.METHODS["kickstart"]()), {"student.lr": 3e-4})
    assert found.student.lr == 3e-4 and found.method == matrix.METHODS["kickstart"]()
    found = search.with_settings(found, {"method.weight": 2.0})
    assert found.method.weight == 2.0 and found.student.lr == 3e-4


@pytest.mark.parametrize(
    "change, said",
    [
        (("seed: 100", "seed: 0"), "searches on seed 0 and reports it"),
        (("population: 2", "population: 1"), "needs a population"),
        (("[student.lr]", "[student.gamma]"), "explores student.gamma: this student and method can move"),
        (("pbt:", "gossip:"), "gossip"),
    ],
)
def test_a_search_that_cannot_be_is_one_line_before_anything_runs(here, change, said, capsys):
    Path("study.yaml").write_text(STUDY.replace(*change))
    with pytest.raises(SystemExit) as stop:
        main(["study", "run", "study.yaml", "--out", "out"])
    assert stop.value.code == 2 and said in " ".join(capsys.readouterr().err.split())
    assert not Path("out").exists() and not Path(".reincarnate").exists()


def test_what_a_stranger_says_was_found_is_checked(here):
    from reincarnate.studies.pins import read_study_record

    Path("out").mkdir()
    value = {"format": 1, "kind": "study", "title": "x", "settings": {}, "pins": {}, "runs": []}
    Path("out/study.json").write_text(json.dumps({**value, "found": {"a": {"settings": {"student.lr": "x"}}}}))
    with pytest.raises(UserError, match=r"found.a.settings should be an object of finite numbers"):
        read_study_record(Path("out"))


def test_a_setting_that_was_left_to_the_kind_of_teacher_can_be_searched_for(here):
    Path("rule.py").write_text(
        "import torch\ndef lean(obs):\n    return torch.zeros(len(obs), 2)\nlean.tells = 'logits'\n"
    )
    taught = STUDY.replace("scratch: {}", "kickstart: {}").replace("student.lr", "method.temperature")
    Path("study.yaml").write_text(taught.replace("CartPole-v1\n", "CartPole-v1\n    teacher: py:rule.py:lean\n"))
    assert search.search_of(read_study(Path("study.yaml"))) is not None
