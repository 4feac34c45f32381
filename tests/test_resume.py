"""A run that is killed and resumed ends with the same bits as one that never stopped: real processes, of a person's
commands. What is quicker to try without them is in test_kept_exactly.py and test_checkpoints.py."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.methods import Scratch
from reincarnate.run import checkpoints
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run
from reincarnate.students import DQN

FLAGS = [
    "--env",
    "CartPole-v1",
    "--env-steps",
    "900",
    "--evaluations",
    "6",
    "--eval-episodes",
    "2",
    "--final-episodes",
    "4",
    "--reference-episodes",
    "3",
    "--data-env-steps",
    "300",
    "--student.hidden",
    "16",
    "--student.warmup",
    "50",
    "--student.replay-size",
    "400",
    "--teacher",
    "py:rule.py:lean",
    "--teacher-plays",
    "greedy",
]
RULE = """
import torch
def lean(obs):
    push = (obs[:, 2] + obs[:, 3] > 0).float()
    return torch.stack([1 - push, push], 1) * 4
"""


def reincarnate(folder: Path, *args: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen:
    command = [sys.executable, "-m", "reincarnate", *args]
    heeds = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever started the tests may have made it deaf
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=stderr, text=True, preexec_fn=heeds)


def essence(run: Path) -> tuple[bytes, list[dict], dict]:
    """What must not differ: weights, metrics and result, but for the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((run / "result.json").read_text())
    for item in (*lines, result):
        item.pop("seconds")
    return (run / "agent/weights.safetensors").read_bytes(), lines, result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    (folder / "rule.py").write_text(RULE)
    return folder


OFFLINE = ("--offline-updates", "300")
RENEWED = ("--student", "modern", "--student.priority", "0.6", "--student.reset-every", "70", "--student.noisy")
FRESH = ("--student", "pqn", "--envs", "4")


@pytest.mark.parametrize(
    "name, method, extra",
    [
        pytest.param("scratch", "scratch", (), marks=pytest.mark.slow),
        pytest.param("qdagger", "qdagger", OFFLINE, marks=pytest.mark.slow),
        pytest.param("modern", "scratch", RENEWED, marks=pytest.mark.slow),
        pytest.param("pqn", "qdagger", (*OFFLINE, *FRESH), marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(name, method, extra, folder):
    flags = [*FLAGS, *extra]
    if name == "pqn":  # has no replay
        at = flags.index("--student.replay-size")
        flags[at : at + 2] = ["--student.batch-size", "16"]
    assert reincarnate(folder, "train", method, *flags, "--out", f"{name}-whole").wait() == 0
    run = folder / f"{name}-killed"
    process = reincarnate(folder, "train", method, *flags, "--out", run.name)
    chance, kills = random.Random(name), 0
    while process.poll() is None:
        if (run / "checkpoints").exists() and kills < 1:
            time.sleep(chance.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            if not (run / "done").exists():
                process = reincarnate(folder, "resume", run.name)
        time.sleep(0.02)
    assert kills and (run / "done").exists()
    assert essence(folder / f"{name}-whole") == essence(run)


@pytest.mark.slow
def test_ctrl_c_leaves_a_resumable_run_and_says_how(folder):
    run = folder / "interrupted"
    process = reincarnate(
        folder, "train", "scratch", *FLAGS, "--env-steps", "40000", "--out", run.name, stderr=subprocess.PIPE
    )
    while not (run / "checkpoints").exists():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert process.returncode == 130 and "resume" in message
    assert not (run / "done").exists() and (run / "config.json").exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(folder):
    run = folder / "damaged"
    process = reincarnate(folder, "train", "scratch", *FLAGS, "--out", run.name)
    while len([p for p in run.glob("checkpoints/0*")]) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    newest = max(run.glob("checkpoints/0*")) / "student.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    resumed = reincarnate(folder, "resume", run.name, stderr=subprocess.PIPE)
    _, message = resumed.communicate()
    assert resumed.returncode == 0 and "damaged" in message
    if (folder / "scratch-whole").exists():
        assert essence(folder / "scratch-whole") == essence(run)


def test_a_large_checkpoint_is_written_while_training_goes_on_and_changes_nothing(tmp_path, monkeypatch):
    small = {"env_steps": 400, "evaluations": 4, "eval_episodes": 1, "final_episodes": 2, "reference_episodes": 2}
    student = DQN(hidden=(8,), warmup=20, replay_size=300)
    run = Run("CartPole-v1", Scratch(), student, store=str(tmp_path / "store"), **small)
    writers = []

    def spy(own, *rest):
        writers.append(threading.current_thread())
        write(own, *rest)

    write = checkpoints.Checkpoints._write
    monkeypatch.setattr(checkpoints.Checkpoints, "_write", spy)
    execute(run, tmp_path / "plain")
    monkeypatch.setattr(checkpoints, "BEHIND", 1)
    execute(run, tmp_path / "behind")
    assert [writer is threading.main_thread() for writer in writers] == [True] * 6 + [
        False
    ] * 4  # the first has no rows
    assert essence(tmp_path / "plain") == essence(tmp_path / "behind")


def test_a_background_checkpoint_that_cannot_be_written_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "BEHIND", 1)
    student = DQN(hidden=(8,), warmup=20, replay_size=300)
    run = Run("CartPole-v1", Scratch(), student, store=str(tmp_path / "store"), env_steps=300, reference_episodes=1)

    def full(path, *rest):
        raise UserError("no space left")

    monkeypatch.setattr(checkpoints.Segment, "save", full)
    with pytest.raises(UserError, match="no space left"):
        execute(run, tmp_path / "run")
    assert not (tmp_path / "run/done").exists()


def test_what_a_killed_process_left_half_made_is_no_run(tmp_path, capsys):
    (tmp_path / ".staging-abc").mkdir()
    (tmp_path / ".staging-abc" / "config.json").write_text("{")
    with pytest.raises(SystemExit) as stop:
        main(["resume", str(tmp_path)])
    assert stop.value.code == 2 and f"{tmp_path} is not a run" in " ".join(capsys.readouterr().err.split())
