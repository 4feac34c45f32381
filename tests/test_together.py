"""Seeds trained together are what they are alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from probes import Catch, CatchTeacher, catch
from test_training import prior_data

from reincarnate.evaluate import Scale, play_episodes
from reincarnate.exploration import Exploration
from reincarnate.methods import Kickstart, QDagger, Scratch
from reincarnate.methods.weaning import Weaning
from reincarnate.seeds import stream
from reincarnate.students import DQN, IQN, PQN, Modern, Rainbow
from reincarnate.students.stacked import StackedStudent
from reincarnate.together import Together, can_share
from reincarnate.training import Training
from reincarnate.types import TaskSpec

SEEDS = 3
SMALL = {"hidden": (16,), "warmup": 40, "batch_size": 8, "update_every": 2, "target_every": 20, "replay_size": 3000}
LINEAR = Weaning(by="linear")


def newborn(method, config, seed, copies=2, memory=None, env=None):
    """A training on Catch, and the list its records go to."""
    student, teacher = config.newborn(Catch.spec, seed), CatchTeacher()

    def evaluate(index):
        policy = lambda obs, begins, rng: student.values(obs).argmax(-1)
        return play_episodes(catch(10), policy, 20, stream(seed, "evaluate", index))

    return Training(
        student=student,
        env=env or catch(copies),
        phases=[replace(p, evaluations=2) for p in method.phases(120)],
        memory=config.memory(Catch.spec, copies) if memory is None else memory,
        prior=prior_data(teacher, config=config) if "data" in method.needs else None,
        teacher=teacher if "teacher" in method.needs else None,
        scale=Scale(-0.6, 1.0),
        exploration=Exploration(config.warmup, 100, 0.05),
        evaluate=evaluate,
        seed=seed,
        pace=config.pace(copies),
    )


def alone(method, config, seed):
    training, lines = newborn(method, config, seed), []
    training.run(lines.append, lambda: None, lambda phase: None)
    return training, lines


def together(method, config, copies=2):
    memory, env = config.memory(Catch.spec, SEEDS * copies), catch(SEEDS * copies)
    memory.teacher_column(Catch.spec.actions)
    parts = [memory.part(i, SEEDS) for i in range(SEEDS)]
    trainings = [newborn(method, config, seed, copies, parts[seed], env) for seed in range(SEEDS)]
    lines = [[] for _ in range(SEEDS)]
    both = Together(trainings, StackedStudent([t.student for t in trainings]), env, memory)
    both.run([rows.append for rows in lines], [lambda: None] * SEEDS, lambda phase: None)
    return trainings, lines


@pytest.mark.parametrize(
    "method, config",
    [
        (Scratch(), DQN(**SMALL)),
        (Kickstart(), DQN(**SMALL, double=True)),
        (QDagger(offline_updates=60), DQN(**SMALL)),
        (QDagger(offline_updates=20, wean=LINEAR), Rainbow(**SMALL, noisy=True, dueling=True)),
        (Kickstart(wean=LINEAR), IQN(**SMALL | {"hidden": (16, 8)})),
        (Scratch(), Modern(**SMALL, reset_every=20)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_seeds_trained_together_equal_seeds_trained_alone(method, config):
    trainings, lines = together(method, config)
    for seed, (one, rows) in enumerate(zip(trainings, lines, strict=True)):
        other, expected = alone(method, config, seed)
        assert one.at.__dict__ | {"seconds": 0} == other.at.__dict__ | {"seconds": 0}
        torch.testing.assert_close(one.student.state()["online"], other.student.state()["online"], rtol=1e-3, atol=1e-4)
        for name in ("action", "reward", "flags", "age"):
            rows_kept = [
                c.columns[name].reshape(c.streams, c.rows)[:, : c.added.min()] for c in (one.memory, other.memory)
            ]
            assert np.array_equal(*rows_kept)
        for line, told in zip(rows, expected, strict=True):
            assert line.keys() == told.keys()
            numbers = {key for key, value in line.items() if isinstance(value, float)} - {"seconds"}
            for key in line.keys() - {"seconds"}:
                expected_value = pytest.approx(told[key], rel=1e-3, abs=1e-4) if key in numbers else told[key]
                assert line[key] == expected_value, key


def test_a_part_of_a_replay_is_what_was_added_to_its_streams():
    config = DQN(**SMALL)
    memory = config.memory(Catch.spec, 4)
    parts = [memory.part(i, 2) for i in range(2)]
    obs = np.arange(4 * 40, dtype=np.float32).reshape(4, 40)
    for step in range(5):
        over = np.array([False, step == 2, False, False])
        memory.add(obs + step, np.full(4, step), np.arange(4.0), over, over & False, obs + step + 1)
    memory.cut(obs + 5)
    assert [part.added.tolist() for part in parts] == [[6, 7], [6, 6]]
    assert [part.transitions for part in parts] == [10, 10] and memory.transitions == 20
    batch = parts[1].sample(64, np.random.default_rng(0))
    assert set((batch.obs[:, 0] // 40).int().tolist()) == {2, 3}


@pytest.mark.parametrize(
    "config, spec, reason",
    [
        (DQN(), TaskSpec("Screens", (4, 84, 84), "uint8", 6, 4, 1.0, {}), "screens"),
        (PQN(), Catch.spec, "without a replay"),
    ],
)
def test_what_cannot_go_together_says_why(config, spec, reason):
    assert reason in can_share(Scratch().phases(100), spec, config.memory(spec, 2).on_policy)
