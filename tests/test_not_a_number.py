"""NaN and infinities are named where they first appear: by the student, the teacher or the data, and never scored."""

from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import SMALL, small_run

from reincarnate import envs
from reincarnate.data.dataset import open_dataset, write_dataset
from reincarnate.data.memory import memory_for
from reincarnate.data.rows import episode
from reincarnate.envs.checks import Unsound
from reincarnate.envs.vector import Fleet
from reincarnate.errors import UserError
from reincarnate.methods import Dagger, Kickstart, Scratch
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run
from reincarnate.students import DQN, PPO, STUDENTS
from reincarnate.training.players import Greedy, RandomPlayer, Stage

DISCRETE = ("dqn", "rainbow", "qrdqn", "iqn", "modern", "pqn", "ppo", "a2c", "primal_dual", "ppo-lstm")
CONTINUOUS = ("td3", "d4pg", "sac", "tqc", "modern_sac", "ppo-continuous")


def spoil(student) -> None:
    """As after a step that went too far."""
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter.fill_(torch.nan)
    student.publish()


@pytest.mark.parametrize("name", DISCRETE + CONTINUOUS)
@pytest.mark.parametrize("judged", [False, True])
def test_a_student_that_says_nan_is_named_with_the_step_in_training_and_evaluation(name, judged):
    task = "CartPole-v1" if name in DISCRETE else "Pendulum-v1"
    settings = PPO(memory="lstm", memory_size=4) if name == "ppo-lstm" else STUDENTS[name]()
    student = settings.newborn(envs.spec(task), 0)
    env, rng = envs.make(task, 2), np.random.default_rng(0)
    stage = Stage(env, Greedy(student.policy, student.spec, 0.0) if judged else student, env.reset(rng))
    stage.play(0.0, rng)
    spoil(student)
    with pytest.raises(Unsound, match="the student predicts nan at step 2 of each copy"):
        stage.play(0.0, rng)


def test_a_run_whose_student_diverges_says_after_how_many_steps_and_updates(tmp_path, monkeypatch):
    def update(student, *rest):
        spoil(student)
        return learn(student, *rest)

    student = DQN(hidden=(8,), warmup=20, batch_size=8, epsilon_steps=1, epsilon=0.0)
    kind = type(student.newborn(envs.spec("CartPole-v1"), 0))
    learn = kind.update
    monkeypatch.setattr(kind, "update", update)
    with pytest.raises(UserError, match=r"predicts nan at step \d+ of each copy.* after \d+ env steps and 1 updates"):
        execute(Run("CartPole-v1", Scratch(), student, store=str(tmp_path / "store"), **SMALL), tmp_path / "run")


def faulty(folder: Path) -> str:
    """A teacher that says NaN where the pole leans far, which greedy play never shows it."""
    code = "import torch\ndef lean(obs):\n    push = (obs[:, 2] + 0.1 * obs[:, 3] > 0).float()\n"
    code += "    far = obs[:, 2].abs() > 0.1\n"
    code += "    return torch.where(far[:, None], torch.nan, torch.stack([1 - push, push], 1) * 4)\n"
    (folder / "faulty.py").write_text(code)
    return f"py:{folder / 'faulty.py'}:lean"


@pytest.mark.parametrize("method", [Kickstart(), Dagger(offline_updates=4)])
def test_a_teacher_that_says_nan_of_stored_rows_is_named_and_not_the_learning_rate(tmp_path, method):
    run = small_run(
        tmp_path, teacher=faulty(tmp_path), method=method, student=DQN(hidden=(8,), warmup=20, batch_size=8)
    )
    with pytest.raises(UserError, match=r"the teacher py:.*faulty.py:lean predicts nan") as caught:
        execute(run, tmp_path / "run")
    assert "lr" not in str(caught.value) and "diverged" not in str(caught.value)


@pytest.mark.parametrize("column", ["rewards", "observations"])
def test_data_of_ours_that_holds_no_numbers_is_refused_as_it_is_opened(tmp_path, column):
    spec, columns = envs.spec("CartPole-v1"), {"observations": np.zeros((6, 4)), "rewards": np.ones(5)}
    columns[column].flat[3] = np.nan
    rows = episode(spec, columns["observations"], np.zeros(5, int), columns["rewards"], terminated=True)
    with pytest.raises(UserError, match=r"(reward|frame)\.npy holds numbers that are not finite"):
        open_dataset(write_dataset(tmp_path, spec, [rows], {}).path)


# ---- masks, which each step says -------------------------------------------------------------------------


def test_masks_are_those_of_the_step_also_where_environments_stand_side_by_side():
    fleet = Fleet([envs.make("own_tasks:Legal?length=3", 1) for _ in range(2)])
    stage = Stage(fleet, RandomPlayer(fleet.spec), fleet.reset(np.random.default_rng(0)))
    even, odd = [True, True, False], [False, True, True]
    seen = []
    for _ in range(4):
        mask = stage.now().mask
        assert mask is not None
        seen.append(mask.tolist())
        played = stage.play(0.0, np.random.default_rng(0))
        assert played.step.next_mask is not None and played.notes["mask"].tolist() == seen[-1]
    assert seen == [[even] * 2, [odd] * 2, [even] * 2, [even] * 2]  # the last one begins anew


def test_side_by_side_without_masks_steps_come_together():
    fleet = Fleet([envs.make("CartPole-v1", 2) for _ in range(2)])
    fleet.reset(np.random.default_rng(0))
    step = fleet.step(np.zeros(4, int))
    assert step.mask is None and len(step.reward) == 4


@pytest.mark.parametrize("name", ["dqn", "pqn"])
def test_what_is_allowed_in_a_successor_is_known_at_an_episodes_end_too(name):
    env, rng = envs.make("own_tasks:Legal?length=3", 1), np.random.default_rng(0)
    settings = STUDENTS[name](n_step=1) if name == "dqn" else STUDENTS[name]()
    memory = memory_for(env.spec, settings.layout(), settings.storage(env.spec, 1), 1)
    stage = Stage(env, RandomPlayer(env.spec), env.reset(rng))
    for _ in range(7):
        stage.play(0.0, rng).store(memory.rows)
    even, odd = [True, True, False], [False, True, True]
    if name == "pqn":
        memory.rows.foresee(stage.obs)
        told = memory.layout.gather(memory.rows, [])
        assert told.next_mask[0].tolist() == [odd, even, odd, odd, even, odd, odd]  # episodes are of three steps
    else:
        told = memory.layout.gather(memory.rows, np.zeros(3, int), np.arange(3), [])
        assert told.next_mask.tolist() == [odd, even, odd]
