"""Tasks of dm_control and of Gymnasium's MuJoCo, where their packages are installed, and one line where they are not."""

import sys

import numpy as np
import pytest

from reincarnate import envs
from reincarnate.envs import control
from reincarnate.errors import UserError
from reincarnate.methods import Scratch
from reincarnate.nets.keyed import screens_in
from reincarnate.nets.qnet import natural_torso
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run
from reincarnate.students import D4PG

RUN = "dm_control/humanoid-run-v0"


def played(env, seed, steps=20):
    """Observations and rewards of random actions."""
    rng = np.random.default_rng(seed)
    found = [env.reset(rng).copy()]
    for _ in range(steps):
        step = env.step(rng.uniform(-1, 1, (env.n, env.spec.actions)).astype(np.float32))
        found += [step.obs.copy(), step.reward.copy()]
    return np.concatenate([part.ravel() for part in found])


def test_humanoid_run_has_the_face_that_is_published():
    pytest.importorskip("dm_control")
    spec = envs.spec(RUN)
    assert spec.obs_shape == (67,) and spec.actions == 21 and spec.bounds == ((-1.0,) * 21, (1.0,) * 21)
    assert spec.protocol["max_episode_steps"] == 1000
    assert [name for name, _ in spec.protocol["observation"]] == sorted(
        ["joint_angles", "head_height", "extremities", "torso_vertical", "com_velocity", "velocity"]
    )


@pytest.mark.parametrize("name", [RUN, "dm_control/hopper-hop-v0", "dm_control/fish-swim-v0"])
def test_one_seed_gives_one_episode_whatever_was_played_before(name):
    pytest.importorskip("dm_control")
    env = envs.make(name, 2)
    first, between, again = played(env, 1), played(env, 2), played(env, 1)
    assert (first == again).all() and (first != between).any()
    other = envs.make(name, 2)
    assert (played(other, 1) == first).all()
    env.close(), other.close()


def test_an_episode_ends_by_the_limit_and_bootstraps():
    pytest.importorskip("dm_control")
    env = envs.make("dm_control/cartpole-balance-v0", 1)
    env.reset(np.random.default_rng(0))
    for t in range(1000):
        step = env.step(np.zeros((1, 1), np.float32))
        assert bool(step.truncated[0]) == (t == 999) and not step.terminated[0]
    env.close()


def test_an_unknown_task_of_the_suite_names_near_ones():
    pytest.importorskip("dm_control")
    with pytest.raises(UserError, match=r"did you mean .*dm_control/humanoid-run-v0"):
        envs.spec("dm_control/humanoid-runs-v0")


def test_a_task_of_the_suite_whose_actions_have_no_bounds_is_refused_in_one_line():
    pytest.importorskip("dm_control")
    with pytest.raises(
        UserError, match=r"^dm_control/lqr-lqr_2_1-v0: number 0 of an action has bounds -inf and inf: [^\n]*$"
    ):
        envs.spec("dm_control/lqr-lqr_2_1-v0")


def test_where_the_package_is_missing_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    monkeypatch.setitem(sys.modules, "dm_control.suite", None)
    monkeypatch.setattr(control, "_there", lambda: False)
    control.spec.cache_clear()
    with pytest.raises(UserError, match=r"reincarnate\[control\]") as told:
        envs.spec(RUN)
    assert "\n" not in str(told.value)


def test_where_mujoco_is_missing_one_line_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(UserError, match=r"reincarnate\[mujoco\]") as told:
        envs.spec("HalfCheetah-v5")
    assert "\n" not in str(told.value)


def test_gymnasiums_mujoco_is_played():
    pytest.importorskip("mujoco")
    spec = envs.spec("HalfCheetah-v5")
    assert spec.obs_shape == (17,) and spec.actions == 6 and spec.obs_dtype == "float32"
    env = envs.make("HalfCheetah-v5", 2)
    assert np.isfinite(played(env, 0)).all()
    env.close()


def test_a_student_trains_on_the_suite(tmp_path):
    pytest.importorskip("dm_control")
    student = D4PG(hidden=(16,), batch_size=8, warmup=10, replay_size=500)
    run = Run(env="dm_control/cartpole-swingup-v0", method=Scratch(), student=student, env_steps=40, evaluations=1)
    fields = {"eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1, "store": str(tmp_path / "store")}
    result = execute(type(run)(**{**vars(run), **fields}), tmp_path / "run")
    assert 0 <= result["score"] <= 1000 and result["updates"] == 3


def test_what_a_task_of_the_suite_shows_is_known_by_name_and_has_no_screens():
    pytest.importorskip("dm_control")
    spec = envs.spec("dm_control/cartpole-swingup-v0")
    assert spec.entries == [("position", 3, (3,), "float32"), ("velocity", 2, (2,), "float32")]
    assert screens_in(spec) == [] and natural_torso(spec) == "mlp"
