"""Replay: nothing crosses an episode, nothing is lost at the seam of the ring, the teacher is asked once."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import Corridor, corridor_spec

from reincarnate.data import Replay, open_dataset, save_dataset
from reincarnate.data.dataset import verify
from reincarnate.data.layouts import Transitions
from reincarnate.data.memory import Memory
from reincarnate.data.sampling import Uniform
from reincarnate.data.segments import check_segments, load_segments, take_segment
from reincarnate.envs.vector import Copies, GymVector
from reincarnate.errors import UserError
from reincarnate.types import LOGITS, VALUES, Prediction, TaskSpec


def play(env, replay, steps, seed=0):
    """Fill a replay by playing action 0; returns the last observation."""
    obs = env.reset(np.random.default_rng(seed))
    for _ in range(steps):
        step = env.step(np.zeros(env.n, np.int64))
        replay.add(obs, np.zeros(env.n), step.reward, step.terminated, step.truncated, step.next_obs)
        obs = step.obs
    return obs


def every_transition(replay, layout):
    """All rows that may begin a transition, gathered."""
    pairs = [(s, p) for s in range(replay.streams) for p in range(*replay.span(s, layout.ahead))]
    stream, position = (np.array(x, np.int64) for x in zip(*pairs, strict=True))
    rows = replay.base[stream] + position % replay.rows
    keep = replay.columns["flags"][rows] & 4 == 0
    return layout.gather(replay, stream[keep], position[keep], list(replay.kinds))


@given(
    length=st.integers(1, 7),
    terminates=st.booleans(),
    n_step=st.integers(1, 5),
    capacity=st.integers(20, 40),
    steps=st.integers(12, 120),
    streams=st.integers(1, 2),
)
@settings(max_examples=80)
def test_every_stored_transition_is_the_one_that_happened(length, terminates, n_step, capacity, steps, streams):
    gamma = 0.5
    env = Copies(corridor_spec(), lambda: Corridor(length, terminates), streams, None)
    replay = Replay(corridor_spec(), capacity * streams, streams)
    play(env, replay, steps)
    batch = every_transition(replay, Transitions(n_step, gamma))
    t = batch.obs[:, 0]
    taken = torch.clamp(length - t, max=n_step)
    torch.testing.assert_close(batch.next_obs[:, 0], t + taken)
    expected = torch.stack(
        [sum((gamma**k * (s + 1 + k) for k in range(int(m))), torch.tensor(0.0)) for s, m in zip(t, taken, strict=True)]
    )
    torch.testing.assert_close(batch.reward, expected)
    ended = t + n_step >= length
    dead = ended & torch.tensor(terminates)
    torch.testing.assert_close(batch.discount, torch.where(dead, torch.tensor(0.0), gamma**taken))


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("terminates", [True, False])
def test_no_transition_crosses_an_episode_under_any_autoreset_mode(mode, terminates):
    class Gym(gym.Env):
        observation_space = gym.spaces.Box(0, 100, (1,), np.float32)
        action_space = gym.spaces.Discrete(2)

        def __init__(self, length):
            self.inner = Corridor(length, terminates)

        def reset(self, *, seed=None, options=None):
            return self.inner.reset(seed), {}

        def step(self, action):
            return *self.inner.step(action), {}

    env = GymVector(corridor_spec(), SyncVectorEnv([lambda: Gym(3), lambda: Gym(4)], autoreset_mode=mode))
    replay = Replay(corridor_spec(), 200, 2)
    play(env, replay, 30)
    batch = every_transition(replay, Transitions(2, 0.5))
    assert (batch.next_obs > batch.obs).all()
    assert set(batch.next_obs[:, 0].tolist()) <= {1.0, 2.0, 3.0, 4.0}
    assert (batch.discount == 0).any() == terminates
    assert env.view("student").shape == (2, 1)


def test_frame_stacks_are_rebuilt_exactly_with_zeros_before_the_start():
    spec = TaskSpec("Frames", (3, 1, 1), "uint8", 2, 3, 1.0, {})
    replay = Replay(spec, 30, 1)
    rng, stack, seen = np.random.default_rng(0), np.zeros((1, 3, 1, 1), np.uint8), []
    stack[0, -1] = 1
    for _ in range(100):
        over = rng.random() < 0.2
        nxt = np.roll(stack, -1, axis=1)
        nxt[0, -1] = rng.integers(1, 255)
        replay.add(stack, np.zeros(1), np.array([5.0]), np.array([over]), np.array([False]), nxt)
        seen.append((stack.copy(), nxt.copy()))
        stack = nxt if not over else np.zeros_like(nxt)
        if over:
            stack[0, -1] = rng.integers(1, 255)
    batch = every_transition(replay, Transitions(1, 0.9))
    known = {(a.tobytes(), b.tobytes()) for a, b in seen}
    assert all(
        (o.numpy()[None].tobytes(), n.numpy()[None].tobytes()) in known
        for o, n in zip(batch.obs, batch.next_obs, strict=True)
    )
    assert (batch.reward == 1.0).all()  # clipped


def test_sampling_is_uniform_over_transitions():
    env = Copies(corridor_spec(), lambda: Corridor(3, True), 1, None)
    replay = Replay(corridor_spec(), 50, 1)
    play(env, replay, 30)
    _, position, _, _ = Uniform(1).draw(replay, 30_000, np.random.default_rng(0))
    counts = np.bincount(position)
    counts = counts[counts > 0]
    assert len(counts) == 30
    assert ((counts - 1000) ** 2 / 1000).sum() < 60  # chi-square, 29 degrees of freedom: p < 0.001 is 58.3


def test_the_teacher_is_asked_once_per_observation_and_only_when_needed():
    env = Copies(corridor_spec(), lambda: Corridor(4, True), 1, None)
    replay = Replay(corridor_spec(), 100, 1)
    play(env, replay, 40)
    memory = Memory(replay, Transitions(1, 0.9))
    asked = []

    def predict(obs):
        asked.append(len(obs))
        return Prediction(LOGITS, torch.cat([obs, -obs], 1))

    rng = np.random.default_rng(0)
    assert memory.sample(8, rng).predictions == {}
    assert not asked
    batch = memory.sample(8, rng, {"teacher": predict})
    assert batch.predictions["teacher"].kind == LOGITS
    torch.testing.assert_close(batch.predictions["teacher"].x, torch.cat([batch.obs, -batch.obs], 1))
    memory.sample(8, rng, {"teacher": predict})
    assert asked == [50]  # 40 transitions and ten last observations, once


def test_an_episode_cut_by_a_barrier_bootstraps_from_its_true_successor():
    env = Copies(corridor_spec(), lambda: Corridor(100, True), 1, None)
    replay = Replay(corridor_spec(), 50, 1)
    replay.cut(play(env, replay, 5))
    batch = every_transition(replay, Transitions(2, 0.5))
    assert batch.obs[-1, 0] == 4 and batch.next_obs[-1, 0] == 5 and batch.discount[-1] == 0.5


def test_a_dataset_reads_back_for_any_n_and_tells_when_it_changed(tmp_path):
    env = Copies(corridor_spec(), lambda: Corridor(4, True), 2, None)
    replay = Replay(corridor_spec(), 200, 2)
    replay.cut(play(env, replay, 10))
    dataset = save_dataset(replay, tmp_path, {"kind": "probe"})
    assert dataset.transitions == 20 and dataset.id == open_dataset(dataset.path).id
    batch = every_transition(dataset.rows(), Transitions(3, 1.0))
    assert set(batch.reward.tolist()) == {6.0, 9.0, 7.0, 4.0, 3.0, 2.0}
    verify(dataset)
    again = save_dataset(replay, tmp_path, {"kind": "probe"})
    assert again.path == dataset.path and not list(tmp_path.glob(".staging*"))
    column = dataset.path / "reward.npy"
    column.write_bytes(column.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"reward\.npy has changed"):
        verify(dataset)


@given(first=st.integers(5, 60), second=st.integers(1, 60), streams=st.integers(1, 2))
@settings(max_examples=30)
def test_segments_restore_the_same_ring(first, second, streams, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segments")
    make = lambda: Replay(corridor_spec(), 30 * streams, streams)
    env = Copies(corridor_spec(), lambda: Corridor(5, False), streams, None)
    replay = make()
    replay.cut(play(env, replay, first))
    entries = [take_segment(replay, None).save(folder / "1.safetensors")]
    before = replay.state()
    replay.annotate("teacher", lambda obs: Prediction(VALUES, torch.cat([obs, obs], 1)))
    replay.cut(play(env, replay, second))
    entries.append(take_segment(replay, before).save(folder / "2.safetensors"))
    copy = make()
    load_segments(copy, folder, entries)
    copy.restore(replay.state())
    layout = Transitions(2, 0.5)
    for a, b in zip(every_transition(replay, layout), every_transition(copy, layout), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a is b or a.keys() == b.keys()
    assert copy.kinds == replay.kinds == {"teacher": VALUES}
    for s in range(streams):  # what has the teacher's word still has it
        kept = np.arange(max(0, replay.added[s] - replay.rows), replay.predicted["teacher"][s])
        rows = replay.base[s] + kept % replay.rows
        assert np.array_equal(replay.columns["teacher"][rows], copy.columns["teacher"][rows])


def test_a_damaged_segment_is_refused(tmp_path):
    env = Copies(corridor_spec(), lambda: Corridor(5, False), 1, None)
    replay = Replay(corridor_spec(), 30, 1)
    replay.cut(play(env, replay, 9))
    entry = take_segment(replay, None).save(tmp_path / "1.safetensors")
    data = bytearray((tmp_path / "1.safetensors").read_bytes())
    data[-3] ^= 1
    (tmp_path / "1.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="has changed"):
        check_segments(tmp_path, [entry])
