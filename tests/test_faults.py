"""Faults that were found by trial, one of a kind each; docs/faults.md says which test holds which, and is read here."""

import gzip
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import damage, spoiled
from interrupting import SMALL, metrics
from own_targets import mend, sha

from reincarnate import envs
from reincarnate.agents.agent import open_agent, save_agent
from reincarnate.data.memory import memory_for
from reincarnate.data.replay import Replay
from reincarnate.data.segments import load_segments
from reincarnate.errors import UserError
from reincarnate.methods import DQfD, Kickstart, Scratch
from reincarnate.priors.reference import reference
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run, check_settings
from reincarnate.students import DQN, IQN, PQN, SAC, STUDENTS, TD3, Rainbow
from reincarnate.students.exploration import epsilon_greedy
from reincarnate.students.gradient import Draws, target_of
from reincarnate.training.counting import Counters
from reincarnate.types import VALUES, Batch, Prediction, Progress, TaskSpec, TimeStep

ROOT = Path(__file__).parents[1]
POINT = TaskSpec("Point", (2,), "float32", 3, 1, None, {})


# ---- numbers -------------------------------------------------------------------------------------------


def test_scores_of_a_task_that_has_changed_are_measured_anew(tmp_path, monkeypatch):
    def scored() -> float:
        return reference(envs.spec("own_tasks:Plain"), None, "auto", 3, tmp_path, lambda *_: None).random.mean

    before, told = scored(), envs.identity("own_tasks:Plain")
    kept = next((tmp_path / "scores").glob("*.json"))
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"returns": [7.0, 7.0, 7.0]}))
    assert before != 7.0 == scored()  # the same task: what was kept
    monkeypatch.setattr(envs, "identity", lambda _: told | {"code": "another"})
    assert scored() == before and len(list((tmp_path / "scores").glob("*.json"))) == 2


def test_where_no_teacher_has_a_say_the_learning_rate_follows_no_lambda():
    for method in (DQfD(expert="logged"), DQfD(weight=0.0), Kickstart(weight=0.0)):
        online = method.phases(100)[-1].objective
        assert online.lr_scale is None and online.at(Progress(0.9)).lr_scale == 1.0
    assert DQfD().phases(100)[-1].objective.at(Progress(0.9)).lr_scale == pytest.approx(0.1)


@pytest.mark.parametrize("settings", [DQN(batch_size=8), Rainbow(batch_size=8), TD3(batch_size=8), SAC(batch_size=8)])
def test_the_smallest_replay_that_is_allowed_holds_a_batch(settings):
    spec, copies = envs.spec("Pendulum-v1" if settings.predicts != VALUES else "CartPole-v1"), 2
    with pytest.raises(UserError, match="replay-size") as caught:
        replace(settings, replay_size=8).check(copies)
    least = int(re.findall(r"at least (\d+)", str(caught.value))[0])
    small = replace(settings, replay_size=least)
    small.check(copies)
    memory, never = memory_for(spec, small.layout(), small.storage(spec, copies), copies), np.zeros(copies, bool)
    obs, one = np.zeros((copies, *spec.obs_shape), np.float32), np.ones(copies, np.float32)
    action = np.zeros((copies, spec.actions), np.float32) if spec.continuous else np.zeros(copies, int)
    for _ in range(200):
        memory.rows.add(obs, action, one, never, never, obs)
    assert len(memory) >= 8


def test_iqn_chooses_by_the_fractions_that_value_and_double_by_the_midpoints():
    critic = IQN(samples=2, acting=2).critic()
    low_first = torch.tensor([[[0.0, 4.0], [3.0, 3.0], [1.0, 1.0]]])  # means 2, 3, 1
    zeros, obs = torch.zeros(1), torch.zeros(1, 2)
    batch = Batch(obs, zeros.long(), zeros, zeros + 1, obs)
    asked = []

    def network(obs, fractions):
        asked.append(fractions.tolist())
        return low_first

    drawn = (torch.tensor([[0.1, 0.2]]),), (torch.tensor([[0.3, 0.9]]),)
    assert target_of(critic, batch, Draws(*drawn), False, network, network).tolist() == [[3.0, 3.0]]
    np.testing.assert_allclose(asked, [[[0.3, 0.9]]])  # one set: it chooses and tells
    target_of(critic, batch, Draws(*drawn), True, network, network)
    np.testing.assert_allclose(asked[1:], [[[0.3, 0.9]], [[0.25, 0.75]]])  # the online network chooses at midpoints


def updates_of_rollouts(evaluations: int, tmp_path) -> list[int]:
    """Up to each evaluation, of 48 env steps in rollouts of 16."""
    student = PQN(hidden=(4,), rollout=4, batch_size=8, epochs=2)
    settings = {**SMALL, "env_steps": 48, "evaluations": evaluations, "store": str(tmp_path / "store")}
    execute(Run("CartPole-v1", Scratch(), student, envs=4, **settings), tmp_path / "run")
    return [line["updates"] for line in metrics(tmp_path / "run", "train")]


def test_evaluations_come_between_rollouts_where_there_are_enough(tmp_path):
    assert updates_of_rollouts(2, tmp_path) == [4, 12]  # after 16 and 48 steps; 2 · 16 / 8 each


def test_a_rollout_that_a_barrier_cut_is_passed_as_often_as_any(tmp_path):
    # stretches of 12: of the first nothing is due, the others end a rollout's worth, 12 of its 16 steps: 2 · 12 / 8
    assert updates_of_rollouts(4, tmp_path) == [0, 3, 6, 9]


def test_an_epsilon_greedy_step_of_several_copies_is_greedy_in_some():
    values = torch.tensor([[0.0, 9.0, 0.0]]).expand(4, -1)

    class Says:
        view, frozen = "student", True

        def initial(self, n):
            return torch.zeros(n, 0)

        def predict(self, step, carry):
            asked.append(len(step.obs))
            return Prediction(VALUES, values[: len(step.obs)]), carry

    asked: list[int] = []
    step, counts = TimeStep(torch.zeros(4, 2), torch.ones(4, dtype=torch.bool)), np.zeros((4, 3))
    rng = np.random.default_rng(0)
    for _ in range(3000):
        action = epsilon_greedy(Says(), step, torch.zeros(4, 0), 3, 0.3, rng).action
        counts[np.arange(4), action] += 1
    shares = counts / 3000
    np.testing.assert_allclose(shares[:, 1], 0.8, atol=0.03)  # 0.7 + 0.3 / 3
    np.testing.assert_allclose(shares[:, [0, 2]], 0.1, atol=0.02)
    assert set(asked) == {1, 2, 3, 4} and asked.count(4) / 3000 == pytest.approx(0.7**4, abs=0.03)


def test_the_numbers_in_metrics_are_those_of_training(tmp_path, monkeypatch):
    student = DQN(hidden=(8,), warmup=20, batch_size=8, update_every=2, epsilon_steps=50)
    kind, seen = type(student.newborn(envs.spec("CartPole-v1"), 0)), []
    learn = kind.update

    def update(self, batch, weighing, rng):
        learnt = learn(self, batch, weighing, rng)
        seen.append(float(learnt.means["td"]))
        return learnt

    monkeypatch.setattr(kind, "update", update)
    settings = {**SMALL, "env_steps": 80, "evaluations": 2, "store": str(tmp_path / "store")}
    result = execute(Run("CartPole-v1", Scratch(), student, **settings), tmp_path / "run")
    first, last = metrics(tmp_path / "run", "train")
    assert [first["updates"], last["updates"]] == [10, 30] and len(seen) == 30
    assert first["loss_td"] == pytest.approx(np.mean(seen[:10]), rel=1e-5)
    assert last["loss_td"] == pytest.approx(np.mean(seen[10:]), rel=1e-5)
    assert [first["epsilon"], last["epsilon"]] == pytest.approx([1 - 0.99 * 20 / 50, 0.01])
    assert last["lr_scale"] == 1.0 and first["episodes"] >= 1 and first["return"] * first["episodes"] <= 40
    evals = metrics(tmp_path / "run", "eval")
    assert [line["env_steps"] for line in evals] == [0, 40, 80] and result["env_steps"] == 80
    assert all(line["low"] <= line["score"] <= line["high"] for line in evals)


@pytest.mark.parametrize("name", STUDENTS.ours)
def test_settings_at_their_bounds_are_allowed_and_beyond_them_refused(name):
    settings, copies = STUDENTS[name](), STUDENTS[name].copies
    for value in (0.0, 1.0):
        if name != "modern_sac" or value < 1:  # whose scale of rewards needs a γ below 1
            replace(settings, gamma=value).check(copies)
    for change in ({"gamma": 1.0000001}, {"gamma": -1e-9}, {"lr": -1e-12}, {"n_step": 0}):
        if not hasattr(settings, *change):
            continue
        with pytest.raises(UserError, match=f"--student.{next(iter(change)).replace('_', '-')}"):
            replace(settings, **change).check(copies)
    replace(settings, lr=0.0).check(copies)


# ---- what others send ----------------------------------------------------------------------------------


def test_a_number_of_evaluations_beyond_the_limit_is_refused_before_anything_runs():
    with pytest.raises(UserError, match=r"--evaluations 1000000000 is too many"):
        check_settings(Run("CartPole-v1", Scratch(), evaluations=10**9))


@pytest.mark.parametrize(
    "wrong",
    [{"barrier": []}, {"phase": -1}, {"updates": 0.5}, {"scores": [None]}, {"best_score": "1"}, {"more": 1}, []],
)
def test_counters_with_right_hashes_and_wrong_kinds_are_refused_by_name(wrong):
    assert Counters.from_record({"phase": 1, "scores": [0.5]}) == Counters(phase=1, scores=[0.5])
    with pytest.raises(UserError, match=next(iter(wrong), "object")):
        Counters.from_record(wrong)


def test_a_replay_with_right_hashes_and_impossible_rows_is_refused(tmp_path):
    def refused(match: str, change) -> None:
        rows = Replay(POINT, 20, 1)
        change(rows)
        with pytest.raises(UserError, match=match):
            rows.restore({"added": [4], "age": [0], "played": [3], "predicted": {}})

    refused("its actions are 0 to 200; Point has 3", lambda rows: rows.columns["action"].__setitem__(2, 200))
    refused("not finite", lambda rows: rows.columns["reward"].__setitem__(2, np.nan))
    refused("before an episode's start", lambda rows: rows.columns["age"].__setitem__(2, -5))
    with pytest.raises(UserError, match="do not fit together"):
        Replay(POINT, 20, 1).restore({"added": [4], "age": [9], "played": [3], "predicted": {}})
    from safetensors.numpy import save_file

    save_file({"reward": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    entry = {"file": "a.safetensors", "rows": [[0], [10**15]], "predictions": {}}
    with pytest.raises(UserError, match="more than the replay's 20"):
        load_segments(Replay(POINT, 20, 1), tmp_path, [entry])


def test_the_fuzzer_damages_what_lies_within_and_makes_hashes_right(tmp_path):
    rng, content = np.random.default_rng(0), b"x" * 100
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as file:
        file.writestr("a", content)
        file.writestr("b", json.dumps({"k": [1, 2]}))
    inner = []
    for _ in range(60):
        try:
            with zipfile.ZipFile(io.BytesIO(damage(whole.getvalue(), rng))) as file:
                inner.append([file.read("a") != content, file.read("b") != b'{"k": [1, 2]}'])
        except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError, EOFError, OverflowError):
            continue
    assert np.array(inner).any(0).all()  # a sound archive with another member, either of them
    zipped = [damage(gzip.compress(content), rng) for _ in range(30)]
    assert sum(_unpacked(x) not in (None, content) for x in zipped) > 10
    assert any(spoiled({"a": {"b": 1}}, rng) != {"a": {"b": 1}} for _ in range(5))
    save_agent(tmp_path / "agent", DQN(hidden=(4,)).newborn(envs.spec("CartPole-v1"), 0), {"score": 1}, "card")
    files = {f"agent/{p.name}": p.read_bytes() for p in (tmp_path / "agent").iterdir()}
    value = json.loads(files["agent/agent.json"])
    files["agent/agent.json"] = json.dumps(value | {"student": value["student"] | {"lr": 0.5}}).encode()
    mended = json.loads(mend(files)["agent/agent.json"])
    assert mended["sha256"] != value["sha256"] and mended["weights"] == sha(files["agent/weights.safetensors"])
    (tmp_path / "agent" / "agent.json").write_bytes(mend(files)["agent/agent.json"])
    assert open_agent(tmp_path / "agent").student.lr == 0.5


def _unpacked(content: bytes) -> bytes | None:
    try:
        return gzip.decompress(content)
    except Exception:
        return None


# ---- the list itself -----------------------------------------------------------------------------------


def test_every_test_that_the_list_of_faults_names_is_there():
    page = (ROOT / "docs" / "faults.md").read_text()
    named = set(re.findall(r"`(\w+)::(test_\w+)`", page))
    known = {
        (path.stem.removeprefix("test_"), name)
        for path in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    assert not named - known and len(named) > 100
    for item in (*(f"A{k}" for k in range(1, 11)), *(f"B{k}" for k in range(1, 8)), "C", "D", "E"):
        assert re.search(rf"^## {item}\b", page, re.MULTILINE), item


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("docs/students.md", "one set of fractions chooses the next action and tells its quantiles"),
        ("docs/methods/jsrl.md", "0.8 per half a million of 10 M frames, twice as often as ours"),
        ("docs/methods/kickstart.md", "lower bound of the evaluation"),
        ("docs/methods/dqfd.md", "A logged expert has no say online"),
        ("docs/log.md", "it is passed as often as any other now"),
    ],
)
def test_departures_stand_where_people_look(page, words):
    assert words in " ".join((ROOT / page).read_text().split())
