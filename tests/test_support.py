"""The support of a bounded critic: chosen by the reference scores and the data, told, recorded, and warned of."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import SMALL, small_run, stopped

from reincarnate import envs
from reincarnate.agents.agent import open_agent
from reincarnate.config import from_dict, to_dict
from reincarnate.data import Replay
from reincarnate.data.dataset import write_dataset
from reincarnate.data.rows import episode
from reincarnate.errors import UserError
from reincarnate.methods import Pretrain, Scratch
from reincarnate.priors.reference import Reference
from reincarnate.priors.support import choose, of_reference, of_rows
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute
from reincarnate.run.settings import NAMES, Run, from_record
from reincarnate.students import D4PG, DQN, Modern, ModernSAC, Rainbow
from reincarnate.training.evaluate import Evaluation
from reincarnate.types import Batch

CARTPOLE = envs.spec("CartPole-v1")
CLIPPED = replace(CARTPOLE, reward_clip=1.0)
LANDER = Reference(Evaluation((-450.0, -50.0, 30.0), 3 * 90), Evaluation((100.0, 300.0), 2 * 300))


def test_scores_are_discounted_as_if_rewards_were_even_with_room_for_bunches_by_hand():
    low, high = of_reference(LANDER, 0.99)
    random, teacher = (2 * (1 - 0.99**n) / (0.01 * n) for n in (90, 300))
    assert random > 1.25 > teacher  # a short episode's return is worth nearly all of itself
    assert (low, high) == pytest.approx((-450 * 1.25, 300 * teacher))
    assert of_reference(LANDER, 1.0) == (-562.5, 375.0)


def test_without_a_teacher_a_student_may_rise_as_far_as_the_random_policy_falls_or_earn_for_ever():
    assert of_reference(Reference(LANDER.random, None), 0.99) == pytest.approx((-562.5, 562.5))
    cartpole = Reference(Evaluation((10.0, 30.0), 40), None)
    assert of_reference(cartpole, 0.99) == pytest.approx((0.0, 100.0))  # a reward of 1 a step, for ever


def test_returns_of_data_are_those_of_its_rows_discounted_and_clipped():
    spec = replace(CARTPOLE, reward_clip=2.0)
    rows = [
        episode(spec, np.zeros((4, 4)), np.zeros(3, int), np.array([1.0, -5.0, 5.0]), terminated=True),
        episode(spec, np.zeros((3, 4)), np.zeros(2, int), np.array([-1.0, -1.0]), terminated=False),
    ]
    columns = {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}
    low, high = of_rows(Replay.over(spec, columns), 0.5)
    # 2 at the end, and 1 + 0.5 (-2 + 0.5 · 2) = 0.5 at the beginning; after the cut the mean -0.2 for ever: -0.4
    assert (low, high) == pytest.approx((-1.6, 2.0))  # -1 + 0.5 (-1 + 0.5 · -0.4)


def test_where_a_limit_ends_episodes_what_would_follow_counts_by_hand():
    pendulum = Reference(Evaluation((-150.0, -210.0), 2 * 30), Evaluation((-30.0,), 30))
    assert of_reference(pendulum, 0.99, 30) == pytest.approx((-210 / 30 * 100 * 1.25, 0.0))
    assert of_reference(pendulum, 0.99, 200) == pytest.approx((-210 * 1.25, 0.0))  # it ended by itself
    full = Evaluation((500.0,), 500)  # of a long episode 2 · r (1 − γ^L) / (1 − γ) is more
    assert of_reference(Reference(full, full), 0.99, 500)[1] == pytest.approx(200 * (1 - 0.99**500))


@pytest.mark.parametrize("settings", [Rainbow(), Modern(), Modern(loss="categorical")])
def test_a_support_is_widened_outwards_to_two_digits_and_never_narrowed(settings):
    found = choose(settings, CARTPOLE, LANDER, None)
    assert found is not None and (found.low, found.high) == (-570.0, 200.0)
    small = Reference(Evaluation((-1.0, 2.0), 20), Evaluation((3.0,), 10))
    kept = choose(settings, CARTPOLE, small, None)
    assert kept is not None and (kept.low, kept.high) == (-10.0, 10.0)


def test_d4pg_is_widened_from_its_own_and_modern_sac_scales_rewards_instead():
    found = choose(D4PG(), envs.spec("Pendulum-v1"), LANDER, None)
    assert found is not None and (found.low, found.high) == (-570.0, 200.0)
    assert choose(ModernSAC(), envs.spec("Pendulum-v1"), LANDER, None) is None
    assert choose(DQN(), CARTPOLE, LANDER, None) is None


def test_scores_of_clipped_rewards_say_nothing_and_data_does(tmp_path):
    kept = choose(Rainbow(), CLIPPED, LANDER, None)
    assert kept is not None and (kept.low, kept.high) == (-10.0, 10.0)
    rows = episode(CLIPPED, np.zeros((41, 4)), np.zeros(40, int), np.full(40, 9.0), terminated=True)
    found = choose(Rainbow(), CLIPPED, LANDER, write_dataset(tmp_path, CLIPPED, [rows], {}))
    assert found is not None and (found.low, found.high) == (-10.0, 34.0)  # (1 - 0.99^40) / 0.01 = 33.1


def test_what_is_told_is_respected_and_the_other_end_lies_beyond_it():
    assert choose(Rainbow(low=-1.0, high=1.0), CARTPOLE, LANDER, None) is None
    for settings, expected in ((Rainbow(low=-2.0), (-2.0, 200.0)), (Rainbow(low=400.0), (400.0, 1170.0))):
        found = choose(settings, CARTPOLE, LANDER, None)
        assert found is not None and (found.low, found.high) == expected
    critic = Rainbow(low=-1.5, high=1.5).critic()
    assert (critic.low, critic.high) == (-1.5, 1.5) and (Rainbow().critic().low, D4PG().critic().high) == (-10.0, 150.0)


def test_records_of_before_keep_the_support_they_name_and_whole_numbers_are_taken():
    value = {
        "env": "CartPole-v1",
        "method": {"name": "scratch"},
        "student": {"name": "rainbow", "low": -10, "high": 10},
    }
    student = from_record(value).student
    assert (student.low, student.high) == (-10.0, 10.0) and type(student.low) is float
    assert from_dict(Run, to_dict(Run("CartPole-v1", Scratch(), Rainbow()), NAMES), NAMES).student == Rainbow()


def test_a_run_tells_its_support_records_it_and_its_agent_keeps_it(tmp_path: Path):
    run, said = small_run(tmp_path), []
    execute(run, tmp_path / "run", note=said.append)
    config, result = (json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("config", "result"))
    low, high = config["support"]
    assert low == -10 and high > 10 and [result["support"]["low"], result["support"]["high"]] == [low, high]
    assert any(line.startswith(f"support of the critic {low:g} to {high:g}: by the reference scores") for line in said)
    agent = open_agent(tmp_path / "run")
    assert (agent.student.low, agent.student.high) == (low, high) and config["student"]["low"] is None


def test_a_run_whose_support_would_be_another_now_does_not_go_on(tmp_path: Path):
    run = small_run(tmp_path)
    stopped(run, tmp_path / "run", 2)
    for path in (tmp_path / "store" / "scores").glob("*.json"):
        kept = json.loads(path.read_text())
        path.write_text(json.dumps({**kept, "returns": [x * 50 for x in kept["returns"]]}))
    with pytest.raises(UserError, match=r"the support that was chosen for .* has changed"):
        execute(run, tmp_path / "run", resume=True)
    assert RunDirectory.reopen(tmp_path / "run").newest()[0] == 2


# ---- at the ends -----------------------------------------------------------------------------------------


def rewards_of(reward: float, n: int = 8) -> Batch:
    obs, zeros = torch.zeros(n, 4), torch.zeros(n)
    return Batch(obs, torch.zeros(n, dtype=torch.long), zeros + reward, zeros, obs)


@pytest.mark.parametrize("settings", [Rainbow(low=-1.0, high=1.0), Modern(low=-1.0, high=1.0)])
def test_the_mass_at_the_ends_by_hand(settings):
    student = replace(settings, hidden=(4,)).newborn(CARTPOLE, 0)
    before, rng = {name: value.clone() for name, value in student.state().items()}, np.random.default_rng(0)
    ends = [student.target_ends(rewards_of(reward), rng) for reward in (-3.0, 0.0, 3.0)]
    assert ends[0][0] > 0.4 and ends[0][1] == pytest.approx(0, abs=1e-6)
    assert max(ends[1]) < 1e-6 and ends[2][1] > 0.4
    assert all(torch.equal(value, before[name]) for name, value in student.state().items())
    assert DQN(hidden=(4,)).newborn(CARTPOLE, 0).target_ends(rewards_of(3.0), rng) is None


def test_rewards_that_are_scaled_lie_nowhere_before_their_scale_is_known():
    spec, rng = envs.spec("Pendulum-v1"), np.random.default_rng(0)
    student, obs, zeros = ModernSAC(hidden=(4,)).newborn(spec, 0), torch.zeros(8, 3), torch.zeros(8)
    batch = Batch(obs, torch.zeros(8, 1), zeros - 15, zeros, obs)
    assert student.target_ends(batch, rng) is None
    student.network.notice(batch.reward)
    assert max(student.target_ends(batch, rng)) < 0.5


@pytest.mark.parametrize(("high", "warned"), [(1.5, 1), (None, 0)])
def test_a_support_that_saturates_in_training_is_warned_of_once_in_one_line(tmp_path, high, warned):
    """Offline, on data of CartPole whose returns reach 10 and more."""
    rows = [episode(CARTPOLE, np.zeros((31, 4)), np.zeros(30, int), np.ones(30), terminated=True)]
    data = write_dataset(tmp_path / "data", CARTPOLE, rows, {})
    student = Rainbow(hidden=(8,), batch_size=8, warmup=20, replay_size=200, low=high and -1.5, high=high)
    settings = {**SMALL, "env_steps": 60, "store": str(tmp_path / "store"), "data": str(data.path)}
    said: list[str] = []
    execute(Run("CartPole-v1", Pretrain(offline_updates=20), student, **settings), tmp_path / "run", note=said.append)
    told = [line for line in said if "targets' mass" in line]
    assert len(told) == warned and all("\n" not in line and "--student.high" in line for line in told)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all({"at_low", "at_high"} <= line.keys() for line in lines if line["kind"] == "train")
