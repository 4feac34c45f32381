"""Tiny runs, a way to stop them at a barrier, and what of two runs must agree."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reincarnate.methods import Kickstart
from reincarnate.methods.weaning import Weaning
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import RunWriter, execute
from reincarnate.run.settings import Run
from reincarnate.students import STUDENTS

RULE = """
import torch
def lean(obs):
    push = (obs[:, 2] + 0.1 * obs[:, 3] > 0).float()
    return torch.stack([1 - push, push], 1) * 4
"""
SMALL: dict[str, Any] = {
    "env_steps": 160,
    "evaluations": 4,
    "eval_episodes": 1,
    "final_episodes": 2,
    "reference_episodes": 2,
}


class Stop(Exception):
    """As a kill, but for tests."""


def small_run(folder: Path, **changes) -> Run:
    """Kickstarting of a student with priorities and noise, on CartPole, with a rule as teacher; in half a second."""
    (folder / "rule.py").write_text(RULE)
    settings: dict[str, Any] = {
        "hidden": (8,),
        "warmup": 30,
        "batch_size": 8,
        "replay_size": 100,
        "priority": 0.6,
        "noisy": True,
        "lr": 3e-3,
    }
    student = STUDENTS["modern"](**settings, reset_every=25, target_every=20, epsilon_steps=200, atoms=11)
    method = Kickstart(wean=Weaning(by="linear"))
    teacher, store = f"py:{folder / 'rule.py'}:lean", str(folder / "store")
    run = Run("CartPole-v1", method, student, teacher=teacher, store=store, data_env_steps=200, **SMALL)
    return replace(run, **changes)


@contextmanager
def at_barrier(number: int, do):
    """Within, `do(directory, training)` is called once a checkpoint of this number has been written."""
    save = RunDirectory.checkpoint

    def saving(directory, training):
        save(directory, training)
        if training.at.barrier == number:
            do(directory, training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "checkpoint", saving)
        yield


def stop(directory, training):
    directory.close()
    raise Stop


def stopped(run: Run, out: Path, at: int) -> Path:
    """A run that ended, somehow, after it had written this checkpoint."""
    with at_barrier(at, stop), pytest.raises(Stop):
        execute(run, out, resume=out.exists())
    return out


@contextmanager
def on_start(look):
    """Within, what a training is before its first step, new or restored, is shown to `look`."""
    begin = RunWriter.begin

    def begun(writer, *args):
        begin(writer, *args)
        look(writer._training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunWriter, "begin", begun)
        yield


def resumed(run: Run, out: Path) -> list[str]:
    """Take a run to its end. Returns what was said."""
    said = []
    execute(run, out, resume=True, note=said.append)
    return said


def check_it_goes_on(run: Run, whole: Path, *at: int) -> None:
    """A run that is stopped at these barriers, and each time goes on, takes the course of the `whole` one to the bit."""
    out = whole.with_name("stopped")
    for barrier in at:
        stopped(run, out, barrier)
    resumed(run, out)
    assert metrics(whole) == metrics(out)
    weights = [(folder / "agent/weights.safetensors").read_bytes() for folder in (whole, out)]
    assert weights[0] == weights[1]


def essence(out: Path) -> dict:
    """What must not differ: weights, records and metrics, but for the clock."""
    found: dict = {"metrics": metrics(out), "result": timeless(json.loads((out / "result.json").read_text()))}
    for agent in ("agent", "agent-best"):
        if (out / agent).exists():
            found[agent] = (out / agent / "weights.safetensors").read_bytes()
            found[f"{agent}.json"] = timeless(json.loads((out / agent / "agent.json").read_text()))
    return found


def metrics(out: Path, kind: str = "") -> list[dict]:
    """The lines, or those of a kind."""
    lines = [timeless(json.loads(line)) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"].startswith(kind)]


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key != "seconds"}
    return [timeless(item) for item in value] if isinstance(value, list) else value
