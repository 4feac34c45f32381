"""A task that is measured by a score of its own, beside the return: evaluated, recorded, weaned by, compared, told."""

import json
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reincarnate import envs
from reincarnate.cli import main
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.priors.reference import reference
from reincarnate.report.runs import load_run
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run, from_record, record
from reincarnate.students import DQN
from reincarnate.training.evaluate import Evaluation, evaluate, play_episodes
from reincarnate.training.players import RandomPlayer
from reincarnate.types import ActorOutput, TaskSpec

LENGTH = 5
SPEC = TaskSpec("Own/Neat-v0", (2,), "float32", 2, 1, None, {"env": "Own/Neat-v0", "score": "neatness"})
TEACHER = """
import torch
class Tidy(torch.nn.Module):
    def forward(self, obs):
        return torch.tensor([[5.0, 0.0]]).expand(len(obs), 2)
TIDY = Tidy()
"""


class Neat:
    """Action 0 is neat and costs one; action 1 is not and pays one: the two measures are opposites."""

    def reset(self, seed):
        self.t = 0
        return np.zeros(2, np.float32)

    def step(self, action):
        self.t += 1
        self.score = (action == 0) / LENGTH
        return np.array([self.t, action], np.float32), 1.0 if action else -1.0, self.t == LENGTH, False

    def close(self):
        pass


class Always:
    """Chooses by the copy: neat in the first, not in the others."""

    def initial(self, n):
        return torch.zeros(n, 0)

    def act(self, step, carry, explore, rng):
        return ActorOutput(np.minimum(np.arange(len(step.begins)), 1), carry)


@pytest.fixture(autouse=True)
def family(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tidy.py").write_text(TEACHER)
    before = dict(envs.FAMILIES._added)
    own = types.ModuleType("neat_family")
    own.ids = lambda: frozenset({SPEC.id})
    own.spec = lambda env_id: SPEC
    own.make = lambda env_id, n, view: Copies(SPEC, Neat, n, None)
    envs.register_family("Own/", own)
    yield
    envs.FAMILIES._added = before


def run_of(method: str = "kickstart", **settings) -> Run:
    student = DQN(hidden=(8,), warmup=8, batch_size=8, replay_size=200)
    usual = {"env_steps": 60, "evaluations": 2, "eval_episodes": 3, "final_episodes": 4, "reference_episodes": 30}
    value = {"env": SPEC.id, "method": {"name": method}, "teacher": "py:tidy.py:TIDY", "compile": "off", "threads": 1}
    return replace(from_record(value | usual | settings), student=student)


def lines(where: str) -> list[dict]:
    return [json.loads(line) for line in (Path(where) / "metrics.jsonl").read_text().splitlines()]


def test_each_episode_has_both_measures_and_idle_copies_score_nothing():
    found = play_episodes(Copies(SPEC, Neat, 3, None), Always(), 4, np.random.default_rng(0))
    pairs = sorted(zip(found.returns, (round(score, 6) for score in found.own), strict=True))
    assert pairs == [(-5.0, 1.0), (-5.0, 1.0), (5.0, 0.0), (5.0, 0.0)]
    assert found.name == "neatness" and found.mean == 0.0 and found.by("neatness").mean == pytest.approx(0.5)
    low, high = found.by("neatness").interval()
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.288675, 0.5 + 1.96 * 0.288675), abs=1e-5)
    assert found.beside().startswith("neatness 0.5 ") and found.by("neatness").beside().startswith("return 0 ")


def test_a_task_without_one_has_but_the_return():
    found = evaluate("CartPole-v1", Always(), 2, np.random.default_rng(0))
    assert found.own == () and found.name is None and found.beside() == "" and "measures" not in found.summary()


def test_by_default_the_return_is_the_score_and_the_own_one_stands_beside_it():
    result = execute(run_of(), Path("r"))
    assert result["metric"] == "return" and result["score"] == result["measures"]["return"]["mean"]
    assert result["reference"]["teacher"]["mean"] == -5.0
    assert result["reference"]["teacher"]["measures"]["neatness"]["mean"] == pytest.approx(1.0)
    first = next(line for line in lines("r") if line["kind"] == "eval")
    assert first["score"] == first["mean_return"] and 0 <= first["mean_neatness"] <= 1 + 1e-6
    assert load_run(Path("r")).beside == ("neatness", result["measures"]["neatness"]["mean"])


def test_with_metric_weaning_scale_best_agent_and_report_go_by_the_tasks_own_score(capsys):
    """By the return this teacher is worse than random and would be left at once; by its own score it is the best."""
    result = execute(run_of(metric="neatness"), Path("r"))
    scale = result["reference"]
    assert scale["teacher"]["mean"] == pytest.approx(1.0) and scale["random"]["mean"] == pytest.approx(0.5, abs=0.1)
    assert result["normalised"] == pytest.approx(
        (result["score"] - scale["random"]["mean"]) / (1 - scale["random"]["mean"]), abs=1e-6
    )
    for line in (line for line in lines("r") if line["kind"] == "eval"):
        assert line["score"] == line["mean_neatness"] and line["mean_return"] == pytest.approx(5 - 10 * line["score"])
    last = [line for line in lines("r") if line["kind"] == "eval"][-1]
    low = (last["low"] - scale["random"]["mean"]) / (1 - scale["random"]["mean"])
    gone = max(0.0, 1 - min(max(low, 0.0), 1.0))
    assert last["weight"] in (pytest.approx(3 * gone), 0.0)  # 0: the phase's end
    loaded = load_run(Path("r"))
    assert loaded.beside == ("return", result["measures"]["return"]["mean"]) and max(loaded.returns) <= 1 + 1e-6
    main(["compare", "r", "--out", "page"])
    page = Path("page/index.html").read_text()
    assert "return -5" in page and "<th>beside</th>" in page.replace('<th scope="col">', "<th>")
    assert "beside" in capsys.readouterr().out


def test_the_metric_is_part_of_the_record_and_of_the_command():
    told = record(run_of(metric="neatness"))
    assert told["metric"] == "neatness" and "--metric neatness" in told["command"]
    assert from_record({k: v for k, v in told.items() if k not in ("command", "versions")}).metric == "neatness"


def test_tensorboard_has_a_curve_for_each_measure():
    from reincarnate.run.tensorboard import TAGS, _tag

    assert _tag("mean_return") == TAGS["score"] and _tag("mean_neatness") == "charts/eval_neatness"


# ---- bad input -----------------------------------------------------------------------------------------


def test_runs_measured_by_different_scores_are_not_compared(capsys):
    execute(run_of(metric="neatness"), Path("a"))
    execute(run_of(seed=1), Path("b"))
    with pytest.raises(SystemExit):
        main(["compare", "a", "b", "--out", "page"])
    assert "metric differs" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("env", "metric", "match"),
    [
        (SPEC.id, "tidiness", "Own/Neat-v0 is measured by return or neatness"),
        ("CartPole-v1", "neatness", "CartPole-v1 is measured by return$"),
    ],
)
def test_a_measure_that_the_task_has_not_is_one_line(env, metric, match):
    with pytest.raises(UserError, match=f"--metric '{metric}': {match}"):
        execute(run_of("scratch", metric=metric, env=env, teacher=None), Path("r"))
    assert not Path("r").exists()


def test_an_environment_that_does_not_tell_its_score_is_one_line():
    env = Copies(SPEC, Neat, 2, None)
    del env.score
    env._scored = False
    with pytest.raises(UserError, match="names the score 'neatness', but its environment has no attribute `score`"):
        play_episodes(env, Always(), 2, np.random.default_rng(0))


def test_a_kept_measurement_without_the_own_score_is_refused():
    store = Path("store")
    assert isinstance(reference(SPEC, None, "auto", 3, store, lambda *_: None).random, Evaluation)
    (file,) = (store / "scores").iterdir()
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "own"}))
    with pytest.raises(UserError, match="holds 0 scores by neatness; delete it"):
        reference(SPEC, None, "auto", 3, store, lambda *_: None)


def test_an_evaluation_tells_in_which_copy_each_episode_was_played():
    env = envs.make("CartPole-v1", 5)
    found = play_episodes(env, RandomPlayer(env.spec), 5, np.random.default_rng(0))
    assert sorted(found.copies) == [0, 1, 2, 3, 4] and list(found.copies) != sorted(found.copies)
    assert list(found.returns) == sorted(found.returns)  # the shortest ended first
