"""Studies: the whole matrix is checked before anything runs, done runs are skipped, failures do not stop the rest."""

import json
from pathlib import Path

import pytest

from reincarnate.errors import UserError
from reincarnate.studies import read_study, run_study

STUDY = """
title: small
seeds: 2
run:
  env_steps: 60
  evaluations: 1
  eval_episodes: 1
  final_episodes: 2
  reference_episodes: 2
  data_env_steps: 100
  student: {hidden: [4], warmup: 10, batch_size: 4}
tasks:
  - env: CartPole-v1
    teacher: py:rule.py:lean
methods:
  scratch: {}
  gentle: {method: kickstart, weight: 0.5}
"""
RULE = "import torch\ndef lean(obs):\n    return torch.stack([-obs[:, 2], obs[:, 2]], 1)\n"


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rule.py").write_text(RULE)
    Path("study.yaml").write_text(STUDY)


def test_a_study_unrolls_seed_by_seed_so_that_every_prefix_compares_all_methods():
    cells = read_study(Path("study.yaml")).cells
    assert [str(c.directory) for c in cells] == [
        f"CartPole-v1/{name}-s{seed}" for seed in (0, 1) for name in ("scratch", "gentle")
    ]
    assert cells[1].run.method.weight == 0.5 and cells[2].run.seed == 1


@pytest.mark.parametrize("old, new, said", [
    ("seeds: 2", "seeds: 2\nbogus: 1", "unknown key 'bogus'"),
    ("method: kickstart", "method: kickstrat", "unknown method 'kickstrat'"),
    ("CartPole-v1", "CartPool-v1", "unknown environment 'CartPool-v1'"),
    ("weight: 0.5", "wait: 0.5", "unknown key 'method.wait'"),
    ("evaluations: 1", "evaluations: often", "expected int"),
    ("rule.py:lean", "rule.py:mean", "mean"),
    ("tasks:", "tasks:\n  - env: CartPole-v1", "two tasks share"),
])  # fmt: skip
def test_a_study_with_a_mistake_is_refused_before_anything_runs(old, new, said):
    Path("study.yaml").write_text(STUDY.replace(old, new, 1))
    with pytest.raises(UserError, match=said):
        read_study(Path("study.yaml"))
    assert not Path(".reincarnate").exists()


def test_a_study_goes_on_where_it_stopped_records_failures_and_refuses_other_settings():
    study, out = read_study(Path("study.yaml")), Path("out")
    first = out / study.cells[0].directory
    first.mkdir(parents=True)  # a directory that is no run: this one must fail, and only this one
    rows = run_study(study, out, workers=2)
    assert {(row.method, row.seeds) for row in rows if row.seeds} == {("scratch", 1), ("gentle", 2)}
    assert "exists already" in json.loads((first / "failed.json").read_text())["error"]
    done = {p: p.stat().st_mtime_ns for p in out.rglob("done")}
    for item in first.iterdir():
        item.unlink()
    first.rmdir()
    rows = run_study(study, out, workers=2)
    assert {(row.method, row.seeds) for row in rows if row.seeds} == {("scratch", 2), ("gentle", 2)}
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert (out / "index.html").exists()
    Path("study.yaml").write_text(STUDY.replace("env_steps: 60", "env_steps: 80"))
    with pytest.raises(UserError, match="env_steps = 60, the study 80"):
        run_study(read_study(Path("study.yaml")), out, workers=1)
