"""Studies: the whole matrix is checked before anything runs, done runs are skipped, failures do not stop the rest."""

import json
import shutil
from pathlib import Path

import pytest
from zips import described, dqn_weights, write_zip

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.files.finished import write_done
from reincarnate.priors.weights import open_weights
from reincarnate.report import Row
from reincarnate.students import DQN
from reincarnate.studies import Study, read_study, report_study, run_study
from reincarnate.studies.units import note_failure, work
from reincarnate.teachers import open_teacher

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


def test_names_of_methods_keep_the_letters_of_any_script_in_their_directories():
    names = "по очкам: {method: scratch}\n  линейно: {method: scratch}\n  लि: {method: scratch}"
    Path("study.yaml").write_text(STUDY.replace("scratch: {}", names).replace("seeds: 2", "seeds: 1"))
    there = [cell.directory.name for cell in read_study(Path("study.yaml")).cells]
    assert there == ["по-очкам-s0", "линейно-s0", "लि-s0", "gentle-s0"]


def test_who_names_weights_and_no_student_gets_the_agents_own_also_from_scratch():
    write_zip(Path("agent.zip"), described(obs_shape=(4,)), dqn_weights(4))
    head, _, _ = STUDY.partition("  student:")
    task = "tasks:\n  - env: CartPole-v1\n    weights: sb3:agent.zip\n"
    Path("study.yaml").write_text(f"{head}{task}methods:\n  scratch: {{run: {{weights: null}}}}\n  finetune: {{}}\n")
    scratch, finetune = (cell.run for cell in read_study(Path("study.yaml")).cells[:2])
    assert scratch.student == finetune.student == open_weights("sb3:agent.zip").student != DQN()
    assert scratch.weights is None and finetune.weights == "sb3:agent.zip"


@pytest.mark.parametrize("old, new, said", [
    ("seeds: 2", "seeds: 2\nbogus: 1", "unknown key 'bogus'"),
    ("seeds: 2", "seeds: 2\nby_clock: 3", "by_clock must be true or false, not 3"),
    ("title: small", "title: {a: b}", "title must be text, not {'a': 'b'}"),
    ("method: kickstart", "method: kickstrat", "unknown method 'kickstrat'"),
    ("CartPole-v1", "CartPool-v1", "unknown environment 'CartPool-v1'"),
    ("weight: 0.5", "wait: 0.5", "unknown key 'method.wait'"),
    ("evaluations: 1", "evaluations: often", "expected int"),
    ("rule.py:lean", "rule.py:mean", "mean"),
    ("tasks:", "tasks:\n  - env: CartPole-v1", "two tasks share"),
    ("env_steps: 60", "env_steps: 60\n  seed: 7", "seed among a run's settings"),
    ("    teacher", "    method: qdagger\n    teacher", "method among a run's settings"),
    ("weight: 0.5", "weight: 0.5, run: {label: x}", "label among a run's settings"),
    ("seeds: 2", "seeds: 0", "seeds must be"),
    ("seeds: 2", "seeds: [1, 1]", "seeds must be"),
    ("seeds: 2", "seeds: many", "seeds must be"),
    ("seeds: 2", "seeds: [0, 9223372036854775808]", "seeds must be below 2.63, not 9223372036854775808"),
    ("scratch: {}", "scratch: 3", "settings of method 'scratch'"),
    ("  - env: CartPole-v1\n    teacher", "    env: CartPole-v1\n    teacher", "tasks must be a list"),
    ("scratch: {}", "gentle.: {method: scratch}\n  gentle,: {method: scratch}\n  gentle;: {method: scratch}", "share the name"),
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
    rows = run_here(study, out)
    assert {(row.method, row.seeds) for row in rows if row.seeds} == {("scratch", 1), ("gentle", 2)}
    assert "exists already" in json.loads((first / "failed.json").read_text())["error"]
    done = {p: p.stat().st_mtime_ns for p in out.rglob("done")}
    for item in first.iterdir():
        item.unlink()
    first.rmdir()
    rows = run_here(study, out)
    assert {(row.method, row.seeds) for row in rows if row.seeds} == {("scratch", 2), ("gentle", 2)}
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert (out / "index.html").exists()
    Path("study.yaml").write_text(STUDY.replace("env_steps: 60", "env_steps: 80"))
    with pytest.raises(UserError, match="env_steps = 60, the study 80"):
        run_study(read_study(Path("study.yaml")), out, workers=1)


@pytest.mark.parametrize("place", [
    "CartPole-v1", "CartPole-v1/scratch-s1", "CartPole-v1/gentle-s0/config.json", "CartPole-v1/gentle-s0/failed.json",
    "study.json", "search", "search/CartPole-v1", "search/CartPole-v1/scratch", "search/CartPole-v1/gentle/s101",
])  # fmt: skip
def test_a_study_writes_nothing_through_links(place):
    Path("study.yaml").write_text(STUDY + "search: {population: 2}\n")
    outside, out = Path("outside").resolve(), Path("out")
    outside.mkdir()
    (out / place).parent.mkdir(parents=True)
    (out / place).symlink_to(outside, target_is_directory=True)
    with pytest.raises(UserError, match=f"^out/{place} is a link .*nothing is written or deleted through links$"):
        run_here(read_study(Path("study.yaml")), out)
    assert not list(outside.iterdir()) and [path for path in out.rglob("*") if path.is_symlink()] == [out / place]
    assert not [path for path in out.rglob("*") if path.is_file()]


# ---- verbs -------------------------------------------------------------------------------------------


def run_here(study: Study, out: Path) -> list[Row]:
    """Run a study in this process; workers of its own are the business of `test_workers.py`."""
    return run_study(
        study, out, executor=lambda units, out, watch: {k: v for u in units for k, v in work(u, out, ignore).items()}
    )


def ignore(*_: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a study whose four runs are done."""
    there = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(there)
        Path("rule.py").write_text(RULE)
        Path("study.yaml").write_text(STUDY)
        run_here(read_study(Path("study.yaml")), Path("out"))
    return there


@pytest.fixture
def finished(made) -> Path:
    """The same, to be changed."""
    shutil.copytree(made, Path.cwd(), dirs_exist_ok=True)
    return Path("out")


def test_runs_older_than_a_setting_are_still_the_studys(finished):
    config = finished / "CartPole-v1/gentle-s0/config.json"
    old = json.loads(config.read_text())
    assert old.pop("metric") == "return" and old["method"].pop("wean") and old["student"].pop("priority") == 0
    config.write_text(json.dumps(old))
    write_done(config.parent)
    run_here(read_study(Path("study.yaml")), finished)
    config.write_text(json.dumps({**old, "env_steps": 61}))
    with pytest.raises(UserError, match="gentle-s0 has env_steps = 61, the study 60; move it away"):
        run_here(read_study(Path("study.yaml")), finished)
    config.write_text(json.dumps({**old, "student": {**old["student"], "batch_size": 5}}))
    with pytest.raises(UserError, match=r"gentle-s0 has student\.batch_size = 5, the study 4; move it away"):
        run_here(read_study(Path("study.yaml")), finished)


def refused(args: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("args, said", [
    (["study", "study.yaml"], "study run study.yaml"),
    (["study", "study.yaml", "--out", "x"], "study run study.yaml --out x"),
    (["study", "."], "study report ."),
    (["study", "report", "."], "study.json is missing"),
    (["study", "run", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    (["study", "run", "study.yaml", "--workers", "0"], "--workers must be at least 1"),
    (["study", "run", "study.yaml", "--address", "auto"], "--backend ray"),
])  # fmt: skip
def test_a_study_without_its_verb_or_with_a_mistake_is_told_what_to_type(args, said, capsys):
    assert said in refused(args, capsys)
    assert not Path("out").exists()


def test_run_and_report_from_the_command_line(capsys):
    main(["study", "run", "study.yaml", "--workers", "1"])
    first = json.loads(Path("out/study/index.json").read_text())
    main(["study", "report", "out/study", "--out", "again"])
    assert json.loads(Path("again/index.json").read_text()) == first
    printed = capsys.readouterr()
    assert "small" in printed.out and "4 of 4 runs are counted" in printed.err


# ---- pinning -----------------------------------------------------------------------------------------


def test_the_prior_is_pinned_and_one_that_changed_is_refused_with_both_hashes(finished, capsys):
    record = json.loads((finished / "study.json").read_text())
    assert record["title"] == "small" and record["settings"]["seeds"] == 2 and len(record["runs"]) == 4
    pinned = record["pins"]["CartPole-v1"]["teacher"]["py:rule.py:lean"]
    assert record["pins"]["CartPole-v1"]["protocol"]
    Path("rule.py").write_text(RULE + "# another\n")
    run_here(read_study(Path("study.yaml")), finished)  # nothing is left to be done with it
    Path("study.yaml").write_text(STUDY.replace("seeds: 2", "seeds: 3"))
    capsys.readouterr()
    line = refused(["study", "run", "study.yaml", "--out", "out"], capsys)
    changed = open_teacher("py:rule.py:lean", 2).card.sha256
    assert pinned in line and changed in line and "has changed since this study began" in line
    assert not (finished / "CartPole-v1/scratch-s2").exists()
    Path("rule.py").write_text(RULE)
    run_here(read_study(Path("study.yaml")), finished)
    assert len(json.loads((finished / "study.json").read_text())["runs"]) == 6


def test_finished_runs_pin_their_prior_where_the_record_is_lost(finished, capsys):
    before = json.loads((finished / "study.json").read_text())["pins"]
    (finished / "study.json").unlink()
    run_here(read_study(Path("study.yaml")), finished)
    assert json.loads((finished / "study.json").read_text())["pins"] == before
    (finished / "study.json").unlink()
    Path("rule.py").write_text(RULE + "# another\n")
    Path("study.yaml").write_text(STUDY.replace("seeds: 2", "seeds: 3"))
    capsys.readouterr()
    assert "has changed since" in refused(["study", "run", "study.yaml", "--out", "out"], capsys)


def test_data_and_weights_are_pinned_too():
    gentle = "  gentle: {method: kickstart, weight: 0.5}"
    Path("study.yaml").write_text(STUDY.replace(gentle, "  qdagger: {offline_updates: 5}"))
    run_here(read_study(Path("study.yaml")), Path("out"))
    agent = "store:out/CartPole-v1/scratch-s0"
    finetune = f"  finetune: {{run: {{weights: {agent}}}}}"
    Path("second.yaml").write_text(STUDY.replace(gentle, finetune))
    run_here(read_study(Path("second.yaml")), Path("second"))
    (data,) = json.loads(Path("out/study.json").read_text())["pins"]["CartPole-v1"]["data"].values()
    assert data == json.loads(Path("out/CartPole-v1/qdagger-s0/result.json").read_text())["prior"]["data"]
    pins = json.loads(Path("second/study.json").read_text())["pins"]["CartPole-v1"]
    result = json.loads(Path("second/CartPole-v1/finetune-s0/result.json").read_text())
    assert pins["weights"] == {agent: result["prior"]["weights"]}
    assert result["prior"]["weights_trained_env_steps"] == 60


# ---- what the report says of what is missing ---------------------------------------------------------


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    if (path.parent / "done").exists():  # made by whoever says so: what is covered by `done` is covered anew
        (path.parent / "done").unlink()
        write_done(path.parent)


def test_a_run_without_a_score_takes_the_interval_away(finished, capsys):
    change(finished / "CartPole-v1/scratch-s1/result.json", score=float("nan"))
    rows = {row.method: row for row in report_study(finished)}
    assert not rows["scratch"].score.known and rows["gentle"].score.known
    said = " ".join(capsys.readouterr().err.split())
    assert "scratch on CartPole-v1: 1 of 2 runs without a finite score, so no interval" in said
    page = (finished / "index.html").read_text()
    assert "score is nan" in page and "so no interval" in page
    assert "3 of 4 runs are counted" in said


def test_failed_and_absent_runs_are_named_with_reasons_and_one_seed_has_no_interval(finished, capsys):
    (finished / "CartPole-v1/gentle-s1/done").unlink()
    note_failure(finished / "CartPole-v1/gentle-s1", "out of luck")
    shutil.rmtree(finished / "CartPole-v1/scratch-s1")
    rows = {row.method: row for row in report_study(finished.resolve())}
    said = "".join(capsys.readouterr().err.split())  # long paths may be broken anywhere
    assert "gentle-s1:failed:outofluck" in said and "scratch-s1:notbegun" in said
    assert "gentleonCartPole-v1:oneseed,sonointerval" in said
    assert not rows["gentle"].score.known and not rows["scratch"].score.known
    record = json.loads((finished / "index.json").read_text())
    assert {(run["path"], run["label"], run["state"]) for run in record["missing"]} == {
        ("CartPole-v1/gentle-s1", "gentle", "failed"),
        ("CartPole-v1/scratch-s1", "scratch", "not begun"),
    }


def test_a_method_without_any_finished_run_is_named(finished, capsys):
    for seed in "01":
        shutil.rmtree(finished / f"CartPole-v1/gentle-s{seed}")
    report_study(finished)
    assert "gentle on CartPole-v1: no finished run to count (2 not begun)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_missing_task_leaves_no_row_over_all(capsys):
    swing = "def swing(obs):\n    return torch.stack([-obs[:, 5], 0 * obs[:, 5], obs[:, 5]], 1)\n"
    Path("rule.py").write_text(RULE + swing)
    task = "  - env: Acrobot-v1\n    teacher: py:rule.py:swing\n    reference_episodes: 5\nmethods:"
    Path("study.yaml").write_text(STUDY.replace("methods:", task))
    run_here(read_study(Path("study.yaml")), Path("out"))
    for path in Path("out/Acrobot-v1").glob("gentle-*"):
        shutil.rmtree(path)
    rows = report_study(Path("out"))
    assert "gentle" not in {row.method for row in rows if row.env == "all 2 tasks"}
    assert "gentle: no row over all tasks: no seeds on Acrobot-v1, 2 seeds on CartPole-v1" in capsys.readouterr().err


def test_a_study_without_any_finished_run_is_one_line(finished, capsys):
    for path in finished.rglob("done"):
        path.unlink()
    capsys.readouterr()
    line = refused(["study", "report", "out"], capsys)
    assert "no finished run to compare; left out, not finished (4)" in line


def test_a_report_refuses_runs_of_another_prior(finished):
    result = finished / "CartPole-v1/gentle-s1/result.json"
    change(result, prior=json.loads(result.read_text())["prior"] | {"teacher": "x" * 64})
    with pytest.raises(UserError, match=r"prior\.teacher differs"):
        report_study(finished)


def test_a_run_that_failed_before_it_had_a_directory_is_tried_again():
    directory = Path("out/CartPole-v1/scratch-s0")
    note_failure(directory, "no disk")
    run_here(read_study(Path("study.yaml")), Path("out"))
    assert (directory / "done").exists() and not (directory / "failed.json").exists()
