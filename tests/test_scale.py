"""The same study on Ray: a worker killed mid-run costs nothing but time, and the results are those of processes."""

import importlib.util
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.studies import read_study, run_study
from reincarnate.studies.ray import RayCluster

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason='Ray is not installed: pip install "reincarnate[ray]"')
STUDY = """
title: on two workers
seeds: 1
run:
  env_steps: 3000
  evaluations: 6
  eval_episodes: 2
  final_episodes: 3
  reference_episodes: 3
  data_env_steps: 100
  student: {hidden: [8], warmup: 100, batch_size: 8}
tasks:
  - env: CartPole-v1
    teacher: py:rule.py:lean
methods:
  scratch: {}
  kickstart: {}
  gentle: {method: kickstart, weight: 0.5}
  hard: {method: kickstart, weight: 2.0}
"""
RULE = """
import os, pathlib, torch
pathlib.Path("pids").mkdir(exist_ok=True)
pathlib.Path("pids", str(os.getpid())).touch()
def lean(obs):
    return torch.stack([-obs[:, 2], obs[:, 2]], 1)
"""


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rule.py").write_text(RULE)
    Path("study.yaml").write_text(STUDY)


def workers() -> list[int]:
    """Processes that have opened the teacher, but for this one, in the order in which they first did."""
    paths = sorted(Path("pids").glob("*"), key=lambda path: path.stat().st_mtime)
    return [int(path.name) for path in paths if int(path.name) != os.getpid()]


def kill_one(root: Path, killed: list[int]) -> None:
    """Once a run has a checkpoint and is not done, kill a process that works."""
    for _ in range(6000):
        if list(root.rglob("checkpoints/0*")):
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)
            return
        time.sleep(0.01)


def returns(root: Path) -> dict[str, list[float]]:
    return {p.parent.name: json.loads(p.read_text())["returns"] for p in root.rglob("result.json")}


def run_and_kill(root: Path, **how) -> list[int]:
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(root, killed))
    killer.start()
    run_study(read_study(Path("study.yaml")), root, **how)
    killer.join()
    return killed


@pytest.mark.slow
@needs_ray
@pytest.mark.filterwarnings("default")
def test_a_worker_killed_mid_run_loses_nothing_and_results_are_those_of_processes():
    killed = run_and_kill(Path("on-ray"), executor=RayCluster(2))
    assert killed and not Path(f"/proc/{killed[0]}").exists()
    assert len(set(workers())) > 2  # another took its place
    run_study(read_study(Path("study.yaml")), Path("here"), workers=2)
    assert len(returns(Path("here"))) == 4 and returns(Path("on-ray")) == returns(Path("here"))
    assert not list(Path("on-ray").rglob("failed.json"))


@pytest.mark.slow
def test_a_local_process_killed_mid_run_loses_nothing_either():
    killed = run_and_kill(Path("killed"), workers=2)
    assert killed
    run_study(read_study(Path("study.yaml")), Path("whole"), workers=2)
    assert len(returns(Path("whole"))) == 4 and returns(Path("killed")) == returns(Path("whole"))
    assert not list(Path("killed").rglob("failed.json"))


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_message_names_what_to_install(capsys):
    with pytest.raises(UserError, match=r'pip install "reincarnate\[ray\]"'):
        RayCluster(2)
    with pytest.raises(SystemExit) as stop:
        main(["study", "run", "study.yaml", "--backend", "ray", "--out", "out"])
    assert stop.value.code == 2 and 'pip install "reincarnate[ray]"' in capsys.readouterr().err
    assert not Path("out").exists()
