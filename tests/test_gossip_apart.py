"""Members that live apart: killed ones come back as their neighbours' mean, in processes and as actors of Ray."""

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.methods import Scratch
from reincarnate.run import apart
from reincarnate.run.callbacks import CALLBACKS
from reincarnate.run.execute import execute_together
from reincarnate.run.ray_members import Post
from reincarnate.run.settings import Run
from reincarnate.students import DQN
from reincarnate.training.gossip import Gossip

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason='Ray is not installed: pip install "reincarnate[ray]"')
SMALL = {"hidden": (8,), "warmup": 20, "batch_size": 8, "update_every": 2, "replay_size": 2000}
QUICK = {"evaluations": 6, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 2, "log": ""}
STEPS = 1200
RUN = Run("CartPole-v1", Scratch(), DQN(**SMALL), env_steps=STEPS, population=2, **QUICK)
SETTLED = ("member 1 goes on from", "warning: member 1 died once too often")
HELD = """
import time
from pathlib import Path
import reincarnate

def hold(moment):
    last = time.monotonic() + 300
    if moment.directory.name == "s0" and moment.told["env_steps"]:
        Path("held").touch()
        while not Path("settled").exists() and time.monotonic() < last:
            time.sleep(0.02)

reincarnate.register_callback("hold", hold)
"""  # imported by the members, in their own processes


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    CALLBACKS._added.pop("hold", None)  # `resume` imports what the record names
    sys.modules.pop("held", None)


def raised(here: Path, run: Run) -> tuple[list, list[str]]:
    """Results and notes of a population whose member 1 is killed (SIGKILL) once both have a checkpoint.

    Member 0 has then posted, and stands still until the run says what becomes of member 1: however long another takes
    to start in its place, it finds a neighbour that is not yet done.
    """
    (here / "held.py").write_text(HELD)
    said, places, done = [], [here / "s0", here / "s1"], threading.Event()

    def note(text: str):
        said.append(text)
        if text.startswith(SETTLED):
            (here / "settled").touch()

    def kill():
        while not done.is_set() and not ((here / "held").exists() and list(places[1].glob("checkpoints/0*"))):
            time.sleep(0.02)
        if not done.is_set():
            os.kill(int((places[1] / ".lock").read_text()), signal.SIGKILL)  # whoever writes there

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        return execute_together(replace(run, imports=("held",)).members(), places, note=note), said
    except UserError as error:
        return [error], said
    finally:
        done.set()
        killer.join()


def check_rebirth(here: Path, results: list, said: list[str]) -> None:
    """All came to the end, and the run says that one was killed and from whom it goes on."""
    assert [result["env_steps"] for result in results] == [STEPS, STEPS] and results[0]["together"] == 1
    assert any(line.startswith("warning: member 1 died (") and "another takes its place" in line for line in said)
    assert "member 1 goes on from the mean of its neighbours' parameters (0)" in said
    assert [one["mean_of"] for one in results[1]["copied"]] == [[0]] and "copied" not in results[0]
    lines = [json.loads(line) for line in (here / "s1/metrics.jsonl").read_text().splitlines()]
    (back,) = [number for number, line in enumerate(lines) if "reborn" in line]
    assert lines[back]["reborn"] == 1.0
    assert sum(line.get("mixed", 0) for line in lines[back:] if line["kind"] == "train") > 0  # it is heard, and hears
    assert all((here / name / "done").exists() for name in ("s0", "s1"))


@pytest.mark.slow
def test_a_member_that_is_killed_is_replaced_and_all_come_to_the_end(here):
    results, said = raised(here, replace(RUN, exchange=Gossip(processes="each", tau=4)))
    check_rebirth(here, results, said)
    assert any("killed by SIGKILL" in line for line in said)


@pytest.mark.slow
def test_a_member_that_dies_for_good_is_not_waited_for(here, monkeypatch):
    monkeypatch.setattr(apart, "REBIRTHS", 0)
    (error,), said = raised(here, replace(RUN, exchange=Gossip(processes="each", tau=1)))
    assert "1 of 2 members failed, the others are done" in str(error) and "s1: its process died" in str(error)
    assert (here / "s0/done").exists() and not (here / "s1/done").exists()
    assert "member 0 goes on without member 1, which has left" in said
    main(["resume", "."])
    assert (here / "s1/done").exists()


@pytest.mark.slow
def test_a_member_that_fails_does_not_take_the_others_along(here):
    (here / "s1").mkdir()  # in the way
    run = replace(RUN, env_steps=400, exchange=Gossip(processes="each", tau=1))
    with pytest.raises(UserError, match="s1 exists already"):
        execute_together(run.members(), [here / "s0", here / "s1"])
    assert not (here / "s0").exists()
    (here / "s1").rmdir()
    diverging = replace(run, student=replace(RUN.student, lr=1e30))
    with pytest.raises(UserError, match="2 of 2 members failed"):
        execute_together(diverging.members(), [here / "s0", here / "s1"])


# ---- on Ray ------------------------------------------------------------------------------------------------

ON_RAY = replace(RUN, exchange=Gossip(processes="ray", tau=4))


@pytest.mark.slow
@needs_ray
@pytest.mark.filterwarnings("default")
def test_an_actor_that_is_killed_is_replaced_and_all_come_to_the_end(here):
    results, said = raised(here, ON_RAY)
    check_rebirth(here, results, said)


def test_messages_are_counted_where_they_arrive_so_that_one_who_is_born_again_is_heard():
    post = Post(0, 3, "ring", "float32", {2})
    assert post.latest(1) is None and post.has_left(2) and not post.has_left(1)
    for number in (5, 6):
        post.arrived(1, np.full(4, number, np.float32))
    message = post.latest(1)
    assert message is not None and message.version == 2 and message.vector.tolist() == [6] * 4
    assert post.latest(1, since=2) is None
    post.mark(2, False)
    assert not post.has_left(2)


class Few:
    """A Ray whose cluster has one CPU."""

    @staticmethod
    def is_initialized():
        return True

    @staticmethod
    def cluster_resources():
        return {"CPU": 1.0}


def test_a_cluster_with_too_few_cpus_is_one_line(here, monkeypatch):
    monkeypatch.setattr("reincarnate.run.cluster.import_ray", lambda: Few)
    with pytest.raises(UserError, match="needs a CPU for each member; the cluster has 1"):
        execute_together(ON_RAY.members(), [here / "s0", here / "s1"])
    assert not (here / "s0").exists() and not (here / ".reincarnate").exists()


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_message_names_what_to_install(here, capsys):
    words = "--env CartPole-v1 --population 2 --exchange gossip --exchange.processes ray --out p"
    with pytest.raises(SystemExit) as stop:
        main(["train", "scratch", *words.split()])
    assert stop.value.code == 2 and 'pip install "reincarnate[ray]"' in capsys.readouterr().err
    assert not Path("p").exists()
