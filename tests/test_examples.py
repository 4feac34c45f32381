"""The examples open as the documentation says, and the teachers in them play."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from asking import says

from reincarnate.agents.acting import play
from reincarnate.teachers import open_teacher
from reincarnate.types import Teacher

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CHANNELS = {"asterix": (4, 5), "breakout": (4, 3), "freeway": (7, 3), "seaquest": (10, 6)}


@pytest.fixture
def example(teachers: Path) -> Callable[[str, str, str], Teacher]:
    """Opens NAME of an example with one file of the teachers' folder."""
    return lambda file, name, path: open_teacher(f"py:{EXAMPLES / file}:{name}?path={teachers / path}")


@pytest.mark.parametrize("game", CHANNELS)
def test_a_minatar_policy_tells_logits_of_the_minimal_actions(game: str, example):
    channels, actions = CHANNELS[game]
    teacher = example("minatar_ppo.py", "PPO", f"minatar/pgx_ppo_{game}.npz")
    out, state = says(teacher, torch.zeros(2, 10, 10, channels, dtype=torch.bool), teacher.initial(2))
    assert out.shape == (2, actions) and state.shape[-1] == 0
    assert teacher.card.actions == actions and teacher.card.obs_shape == (10, 10, channels)


@pytest.mark.filterwarnings("ignore")  # minatar looks for drawing libraries as it is imported
def test_the_breakout_policy_plays_far_better_than_chance(example):
    from minatar.environment import Environment

    teacher = example("minatar_ppo.py", "PPO", "minatar/pgx_ppo_breakout.npz")
    rng, total = np.random.default_rng(0), 0.0
    for seed in range(5):
        env = Environment("breakout", sticky_action_prob=0.1)
        env.seed(seed)
        env.reset()
        minimal, done = env.minimal_action_set(), False
        for _ in range(500):
            logits, _ = says(teacher, torch.from_numpy(env.state().astype(bool)[None]))
            reward, done = env.act(minimal[play(logits, teacher.card.tells, rng)[0]])
            total += reward
            if done:
                break
    assert total / 5 > 10, "a random policy gets about 0.5"


@pytest.mark.parametrize(("game", "actions"), [("breakout", 4), ("pong", 6), ("seaquest", 18)])
def test_an_acktr_agent_sees_the_classic_frames(game: str, actions: int, example):
    teacher = example("atari_acktr.py", "ACKTR", f"atari/ikostrikov_acktr_{game}.npz")
    out, state = says(teacher, torch.zeros(2, 4, 84, 84, dtype=torch.uint8), teacher.initial(2))
    assert out.shape == (2, actions) and state.shape[-1] == 0 and teacher.card.parameters > 800_000


@pytest.mark.parametrize(("game", "actions"), [("breakout", 4), ("pong", 6)])
def test_a_gru_agent_carries_its_memory_and_looks_at_colours(game: str, actions: int, example):
    teacher = example("atari_gru.py", "GRU", f"baby-a3c/{game}-v4.model.80.tar")
    frame = torch.randint(0, 256, (2, 210, 160, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, state = says(teacher, frame, teacher.initial(2))
    second, _ = says(teacher, frame, state)
    assert first.shape == (2, actions) and teacher.view == "rgb"
    assert state is not None and state.shape == (2, 256) and not torch.equal(first, second)


def test_a_gru_agent_bears_a_blank_screen(example):
    teacher = example("atari_gru.py", "GRU", "baby-a3c/pong-v4.model.80.tar")
    out, _ = says(teacher, torch.zeros(1, 210, 160, 3, dtype=torch.uint8), teacher.initial(1))
    assert out.isfinite().all()


def test_every_example_is_short_and_says_how_it_is_used():
    for path in EXAMPLES.glob("*_*.py"):
        source = path.read_text()
        assert len(source.splitlines()) <= 60 and f"examples/{path.name}" in source, path.name
