"""Long work that is disturbed: workers that die, two studies at once, signals, scripts that cannot be imported."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reincarnate import surroundings
from reincarnate.errors import UserError
from reincarnate.files.lock import Lock
from reincarnate.studies import read_study, run_study
from reincarnate.studies.executors import RETRIES

SRC = str(Path(surroundings.__file__).parents[1])
PATHS = os.pathsep.join((SRC, str(Path(__file__).parent)))
STUDY = """
title: disturbed
seeds: 2
run:
  env_steps: 40
  evaluations: 1
  eval_episodes: 1
  final_episodes: 1
  reference_episodes: 1
  compile: "off"
  student: {hidden: [4], warmup: 10, batch_size: 4, torso: mlp}
tasks:
  - env: TASK
methods:
  scratch: {}
  other: {method: scratch, run: {envs: 2}}
"""
KILLER = """
import multiprocessing, os, signal
from pathlib import Path
from own_tasks import Plain

class Killer(Plain):
    def step(self, action):
        if multiprocessing.parent_process() and Path("victim").exists():
            kill(self)
        return super().step(action)

def kill(env):
    with open("deaths", "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", PATHS)
    Path("study.yaml").write_text(STUDY.replace("TASK", "own_tasks:Plain?max_episode_steps=50"))


def script(text: str, *args: str, stdin: bool = False, **env: str) -> subprocess.CompletedProcess:
    """A script of somebody's, from a file or from standard input."""
    Path("script.py").write_text(text)
    command = [sys.executable, "-" if stdin else "script.py", *args]
    return subprocess.run(
        command, input=text if stdin else None, capture_output=True, text=True, timeout=240, env={**os.environ, **env}
    )


# ---- workers that die --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_kills_its_process_fails_alone_and_takes_no_innocent_one_along():
    """Two tasks' runs share the workers; one of them kills whichever process plays it, every time."""
    Path("killing.py").write_text(KILLER)
    text = STUDY.replace("  - env: TASK", "  - env: killing:Killer\n  - env: own_tasks:Plain").replace(
        "seeds: 2", "seeds: 1"
    )
    Path("study.yaml").write_text(text.replace("  other: {method: scratch, run: {envs: 2}}\n", ""))
    study = read_study(Path("study.yaml"))
    Path("victim").touch()
    run_study(study, Path("out"), workers=2)
    killed, innocent = (Path("out") / cell.directory for cell in study.cells)
    failure = json.loads((killed / "failed.json").read_text())["error"]
    assert f"died {RETRIES + 1} times, 2 of them with nothing else running" in failure and "SIGKILL" in failure
    assert Path("deaths").read_text() == "x" * (RETRIES + 1)
    assert (innocent / "done").exists() and not (innocent / "failed.json").exists()


@pytest.mark.slow
def test_a_process_that_dies_once_costs_nothing_but_time():
    Path("killing.py").write_text(KILLER.replace('file.write("x")', 'file.write("x")\n    Path("victim").unlink()'))
    text = STUDY.replace("TASK", "killing:Killer").replace("seeds: 2", "seeds: 1")
    Path("study.yaml").write_text(text.replace("  other: {method: scratch, run: {envs: 2}}\n", ""))
    study = read_study(Path("study.yaml"))
    Path("victim").touch()
    run_study(study, Path("out"), workers=1)
    assert Path("deaths").read_text() == "x" and (Path("out") / study.cells[0].directory / "done").exists()


# ---- two at once -------------------------------------------------------------------------------------


def test_two_studies_that_begin_in_the_same_new_folder_are_kept_apart(monkeypatch):
    entered, leave, said = threading.Event(), threading.Event(), []

    def slow(*_):
        entered.set()
        leave.wait(60)

    monkeypatch.setattr("reincarnate.studies.runner._run", slow)
    monkeypatch.setattr("reincarnate.studies.runner.report_study", lambda out, quiet: [])
    study = read_study(Path("study.yaml"))
    first = threading.Thread(target=lambda: said.append(run_study(study, Path("new"))))
    first.start()
    assert entered.wait(60)
    with pytest.raises(UserError, match=rf"new is in use: process {os.getpid()} writes to it"):
        run_study(study, Path("new"))
    leave.set()
    first.join()
    assert said == [[]] and not Path("new").exists()  # nothing came of it, so that nothing stays


def test_a_lock_on_a_file_that_its_owner_has_removed_is_no_lock(monkeypatch):
    folder = Path("locked")
    folder.mkdir()
    first = Lock(folder)
    opened, take = [], Lock._take

    def late(self, folder):
        if not opened:  # the owner removes the file between opening and locking
            first.remove()
        opened.append(1)
        if len(opened) == 1:
            self._handle = os.open(folder, os.O_RDONLY)
        else:
            take(self, folder)

    monkeypatch.setattr(Lock, "_take", late)
    second = Lock(folder)
    assert len(opened) == 2 and (folder / ".lock").read_text() == str(os.getpid())
    second.release()
    first.release()


# ---- signals -----------------------------------------------------------------------------------------


def start(tmp: Path, *args: str) -> subprocess.Popen:
    env = {**os.environ, "TMPDIR": str(tmp), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "reincarnate", *args]
    heeds = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup tests are deaf to it, and so are theirs
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stderr=pipe, stdout=pipe, text=True, env=env, preexec_fn=heeds)


def wait_for(pattern: str) -> None:
    for _ in range(2400):
        if list(Path().glob(pattern)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pattern} never came")


LONG = ["--env", "own_tasks:Plain?max_episode_steps=50", "--env-steps", "1000000", "--compile", "off"]
LONG += ["--reference-episodes", "1", "--eval-episodes", "1", "--student.hidden", "4"]


def test_sigterm_leaves_one_line_the_right_code_and_no_folder(tmp_path):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    process = start(tmp, "train", "scratch", *LONG, "--out", "run")
    wait_for("run/metrics.jsonl")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    last = said.strip().splitlines()[-1]
    assert last.startswith("ended by SIGTERM; ") and last.endswith("reincarnate resume run")
    assert "Traceback" not in said and not list(tmp.iterdir()) and not list(Path().glob(".staging*"))


@pytest.mark.slow
def test_sighup_ends_a_study_and_its_workers_and_leaves_no_folder(tmp_path):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    Path("study.yaml").write_text(Path("study.yaml").read_text().replace("env_steps: 40", "env_steps: 1000000"))
    process = start(tmp, "study", "run", "study.yaml", "--out", "out", "--workers", "1")
    wait_for("out/*/*/metrics.jsonl")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP and "ended by SIGHUP; the same command" in said
    assert "Traceback" not in said and not list(tmp.iterdir()) and not Path("out/.lock").exists()
    alive = [pid for pid in children if "reincarnate" in _command_line(pid) or "spawn_main" in _command_line(pid)]
    assert children and not alive


def _command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


# ---- scripts -----------------------------------------------------------------------------------------

UNGUARDED = """
import gymnasium as gym, own_tasks
gym.register("Mine-v0", entry_point=own_tasks.Plain, max_episode_steps=20)
"""
COMMAND = UNGUARDED + "from reincarnate.cli import main\nmain()\n"
LIBRARY = """
from pathlib import Path
from reincarnate.studies import read_study, run_study
run_study(read_study(Path("study.yaml")), Path("out"), workers=1)
"""


def small() -> None:
    text = STUDY.replace("TASK", "Mine-v0").replace("seeds: 2", "seeds: 1")
    Path("study.yaml").write_text(text.replace("  other: {method: scratch, run: {envs: 2}}\n", ""))


@pytest.mark.slow
def test_a_script_without_a_main_guard_may_call_the_command_line():
    small()
    done = script(COMMAND, "study", "run", "study.yaml", "--out", "out", "--workers", "1")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert Path("out/Mine-v0/scratch-s0/done").exists()


@pytest.mark.slow
def test_a_script_without_a_main_guard_that_calls_the_library_is_told_what_to_write():
    done = script(LIBRARY)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("reincarnate.errors.UserError") and '__name__ == "__main__"' in last
    assert done.stderr.count("Traceback") == 1  # of the script itself, and none of its workers


def test_a_study_from_standard_input_says_that_it_cannot_be():
    small()
    done = script(COMMAND, "study", "run", "study.yaml", "--out", "out", stdin=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "<stdin> cannot be imported: save it as a file" in " ".join(done.stderr.split())
