"""The command line as a person meets it: what works in a few seconds, and one clear line for what cannot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from thinning import slow

from reincarnate.cli import commands as cli
from reincarnate.cli import main

FAST = [
    "--env",
    "CartPole-v1",
    "--env-steps",
    "120",
    "--evaluations",
    "2",
    "--eval-episodes",
    "2",
    "--final-episodes",
    "2",
    "--reference-episodes",
    "3",
    "--data-env-steps",
    "200",
    "--student.hidden",
    "8",
    "--student.warmup",
    "20",
    "--student.batch-size",
    "8",
]


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)


RULE = '''
import torch
def lean(obs):
    """Push the cart towards where the pole leans."""
    push = (obs[:, 2] + obs[:, 3] > 0).float()
    return torch.stack([1 - push, push], 1) * 4
lean.tells = "values"
def three(obs):
    return torch.zeros(len(obs), 3)
three.card = {"actions": 3, "obs_shape": (7,)}
'''
TAUGHT = [*FAST, "--teacher", "py:rule.py:lean"]


def refused(args, capsys):
    """The one line of an error; asserts exit code 2 and that nothing was written."""
    before = sorted(Path.cwd().iterdir())
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    assert sorted(Path.cwd().iterdir()) == before
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("method", [slow("scratch"), slow("kickstart"), "qdagger"])
def test_train_leaves_a_run_that_can_be_compared_evaluated_and_taught_from(method, capsys):
    extra = ["--offline-updates", "30"] if method == "qdagger" else []
    main(["train", method, *TAUGHT, *extra, "--out", "run"])
    run = Path("run")
    left = {p.name for p in run.iterdir()} - {"agent-best"}  # that one only where the last evaluation was not the best
    assert left == {"config.json", "metrics.jsonl", "result.json", "agent", "done", "tb"}
    result = json.loads((run / "result.json").read_text())
    assert result["method"] == method and result["env_steps"] == 120
    assert result["offline_updates"] == (30 if extra else 0)
    assert list((run / "tb").glob("events*"))
    main(["evaluate", "store:run", "--episodes", "2"])
    main(["inspect", "run", "--env", "CartPole-v1", "--episodes", "2"])
    main(["compare", "run", "--out", "page"])
    printed = capsys.readouterr().out
    assert "95 %" in printed and "action gap" in printed and "teacher" in printed
    assert Path("page/index.html").stat().st_size > 5000


def test_the_card_of_an_agent_holds_the_command_that_makes_it_again():
    main(["train", "scratch", *FAST, "--seed", "3", "--out", "a"])
    card = Path("a/agent/card.md").read_text()
    command = next(line for line in card.splitlines() if line.startswith("reincarnate train"))
    main([*command.split()[1:], "--out", "b"])
    weights = [Path(run, "agent/weights.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]


def test_teachers_data_is_collected_once_and_shared_by_methods_and_seeds():
    for seed in "01":
        main(["train", "qdagger", *TAUGHT, "--offline-updates", "10", "--seed", seed, "--out", f"q{seed}"])
    (data,) = Path(".reincarnate/data").iterdir()
    hashes = {json.loads(Path(f"q{s}/result.json").read_text())["prior"]["data"] for s in "01"}
    assert hashes == {json.loads((data / "manifest.json").read_text())["id"]}
    main(["train", "qdagger", *TAUGHT, "--data", str(data), "--offline-updates", "10", "--out", "given"])
    assert json.loads(Path("given/result.json").read_text())["prior"]["data"] in hashes


def test_a_config_file_and_flags_say_the_same(capsys):
    main(["train", "qdagger", *TAUGHT, "--wean.end", "0.5", "--print-config"])
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["method"]["wean"]["end"] == 0.5
    Path("c.yaml").write_text(text)
    main(["train", "qdagger", "--config", "c.yaml", "--print-config"])
    assert capsys.readouterr().out == text
    main(["train", "qdagger", "--config", "c.yaml", "--seed", "9", "--print-config"])
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 9
    main(["train", "qdagger", *TAUGHT, "--label", "1e5", "--print-config"])
    Path("c.yaml").write_text(text := capsys.readouterr().out)
    main(["train", "qdagger", "--config", "c.yaml", "--print-config"])
    assert capsys.readouterr().out == text and "label: '1e5'" in text


def test_a_dry_run_prints_phases_and_cost_and_writes_nothing(capsys):
    before = sorted(Path.cwd().iterdir())
    main(["train", "qdagger", *TAUGHT, "--dry-run"])
    text = capsys.readouterr().out
    assert "offline: 20,000 updates" in text and "online: 120 env steps" in text and "about" in text and "KL" in text
    assert sorted(Path.cwd().iterdir()) == before


def test_a_dry_run_tells_the_temperature_that_suits_the_teacher(capsys):
    main(["train", "kickstart", *TAUGHT, "--dry-run"])
    text = capsys.readouterr().out
    assert "KL(teacher ‖ student), τ = 0.1 / 0.1 (teacher)" in text and "to be told" not in text
    main(["train", "kickstart", *TAUGHT, "--temperature", "auto", "--dry-run"])
    assert "τ = to be told" in capsys.readouterr().out  # it is measured when the run begins


@pytest.mark.parametrize(
    "key, line",
    [
        ("unknown key 'bogus'", "bogus: 1"),
        ("duplicate key 'seed'", "seed: 1\nseed: 2"),
        ("seed: expected int", "seed: two"),
        ("student.lr", "student: {lr: fast}"),
    ],
)
def test_a_config_with_bad_keys_is_refused(key, line, capsys):
    Path("c.yaml").write_text(f"env: CartPole-v1\n{line}\n")
    assert key in refused(["train", "scratch", "--config", "c.yaml"], capsys)


def test_numbers_that_cannot_mean_anything_are_refused_when_looking_at_a_teacher(capsys):
    teacher = f"store:{Path(cli.__file__).parents[3]}/priors/minatar-breakout-dqn"
    play = ["--env", "MinAtar/Breakout-v1", "--episodes", "1"]
    assert "--temperature must be above 0" in refused(["inspect", teacher, *play, "--temperature", "0"], capsys)
    assert "--seed must not be negative" in refused(["evaluate", teacher, *play, "--seed", "-1"], capsys)


def test_an_unknown_environment_is_refused_with_near_matches(capsys):
    assert "did you mean CartPole-v1" in refused(["train", "scratch", "--env", "CartPool-v1"], capsys)
    assert "ALE/Pong-v5" in refused(["train", "scratch", "--env", "ALE/Pnog-v5"], capsys)
    assert "continuous actions" in refused(["train", "scratch", "--env", "Pendulum-v1"], capsys)


def test_an_unknown_method_command_or_student_is_refused_with_near_matches(capsys):
    assert "did you mean qdagger" in refused(["train", "qdager", *FAST], capsys)
    assert "did you mean train" in refused(["trian"], capsys)
    assert "dqn" in refused(["train", "scratch", *FAST, "--student", "dqm"], capsys)
    assert "scratch" in refused(["train"], capsys)


def test_a_missing_teacher_names_the_methods_that_need_none(capsys):
    line = refused(["train", "qdagger", *FAST], capsys)
    assert "--teacher" in line and "none: scratch, finetune" in line


def test_a_teacher_that_does_not_fit_is_refused_with_both_spaces(capsys):
    line = refused(["train", "kickstart", *FAST, "--teacher", "py:rule.py:three"], capsys)
    assert "(7,)" in line and "3 actions" in line and "(4,)" in line and "has 2" in line


def test_settings_that_cannot_mean_anything_are_refused(capsys):
    assert "--env-steps" in refused(["train", "scratch", *FAST, "--env-steps", "0"], capsys)
    assert "probability" in refused(["train", "scratch", *FAST, "--data-epsilon", "2"], capsys)
    assert "replay-size" in refused(["train", "scratch", *FAST, "--student.replay-size", "4"], capsys)
    assert "torso" in refused(["train", "scratch", *FAST, "--student.torso", "nature"], capsys)


def test_an_output_that_exists_is_refused_and_left_alone(capsys):
    Path("run").mkdir()
    assert "exists already" in refused(["train", "scratch", *FAST, "--out", "run"], capsys)
    assert not list(Path("run").iterdir())


def test_resume_refuses_what_is_no_run_or_is_finished(capsys):
    assert "not a run" in refused(["resume", "nowhere"], capsys)
    main(["train", "scratch", *FAST, "--out", "run"])
    capsys.readouterr()  # what was remarked there
    assert "finished" in refused(["resume", "run"], capsys)


def test_an_output_that_exists_names_resume_only_where_that_goes_on(capsys):
    into = ["train", "scratch", *FAST, "--out"]
    Path("plain dir").mkdir()
    assert "resume" not in refused([*into, "plain dir"], capsys)
    Path("plain dir/s1").mkdir()
    Path("plain dir/s1/config.json").touch()
    assert "(`reincarnate resume 'plain dir'` goes on)" in refused([*into, "plain dir"], capsys)
    Path("plain dir/s1/done").touch()
    assert "resume" not in refused([*into, "plain dir"], capsys)


def test_resume_says_what_a_folder_without_an_unfinished_run_is(capsys):
    for run in ("runs/s0", "runs/s1", "a study/CartPole-v1/scratch-s0"):
        Path(run).mkdir(parents=True)
        Path(run, "config.json").touch()
        Path(run, "done").touch()
    assert "runs: all 2 runs in it are finished" in refused(["resume", "runs"], capsys)
    Path("a study/study.json").touch()
    told = refused(["resume", "a study"], capsys)
    assert "a study's folder: `reincarnate study run FILE --out 'a study'` goes on" in told


def test_a_weak_teacher_is_reported_aloud(capsys):
    Path("bad.py").write_text("import torch\ndef f(obs):\n    return torch.tensor([[1.0, 0.0]]).expand(len(obs), 2)\n")
    main(["train", "kickstart", *FAST, "--teacher", "py:bad.py:f", "--teacher-plays", "greedy", "--out", "run"])
    said = capsys.readouterr()
    assert "no better than the random policy" in " ".join(said.err.split())
    assert "normalised" not in said.out  # there is no scale


@pytest.mark.slow  # in `test_checkpoints.py` without a file system of its own
def test_a_full_disk_stops_with_one_line_and_keeps_the_last_checkpoint(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        command = [
            sys.executable,
            "-m",
            "reincarnate",
            "train",
            "scratch",
            *FAST,
            "--env-steps",
            "20000",
            "--evaluations",
            "50",
            "--out",
            str(mount / "run"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2 and "the disk is full" in done.stderr
        kept = [p for p in (mount / "run/checkpoints").iterdir() if not p.name.startswith(".")]
        assert kept and all((p / "state.json").exists() for p in kept)
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_help_teaches(capsys):
    main([])
    overview = capsys.readouterr().out
    assert all(command in overview for command in cli.COMMANDS)
    with pytest.raises(SystemExit) as stop:
        main(["train", "qdagger", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--offline-updates" in text and "--student.lr" in text and "--wean.by" in text and "--env-steps" in text


UNSURE = """
import torch

def lean(obs):
    return torch.stack([torch.zeros(len(obs)), obs[:, 2] + obs[:, 3]], 1)  # right where the pole falls to, but not surely

lean.tells = "logits"
"""


def test_the_greedy_play_of_a_teacher_that_samples_is_scored_where_asked():
    Path("unsure.py").write_text(UNSURE)
    given = ["train", "kickstart", *FAST, "--teacher", "py:unsure.py:lean", "--reference-greedy", "--out"]
    main([*given, "run"])
    told = json.loads(Path("run/result.json").read_text())["reference"]
    assert told["greedy"]["mean"] > 2 * told["teacher"]["mean"]  # leaning with the pole keeps it up, at times does not
    main([*given, "again", "--teacher-plays", "greedy"])
    again = json.loads(Path("again/result.json").read_text())["reference"]
    assert "greedy" not in again and again["teacher"] == told["greedy"]
    several = ["train", "kickstart", "--env", "MinAtar/Breakout-v1,MinAtar/Asterix-v1", "--reference-greedy"]
    with pytest.raises(SystemExit):
        main([*several, "--teacher", "py:unsure.py:lean", "--out", "more"])
