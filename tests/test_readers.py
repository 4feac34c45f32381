"""Other projects' logs become datasets with the transitions that these projects take from them themselves."""

import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest
import torch
from asking import cut
from fuzzing import fuzz
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_targets import TARGETS

from reincarnate import envs
from reincarnate.cli import main
from reincarnate.data.dataset import Dataset, open_dataset, verify
from reincarnate.data.readers import import_data, read_logged, reader_of
from reincarnate.data.rows import episode, outline
from reincarnate.errors import UserError
from reincarnate.types import Batch, TaskSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import minari
    import stable_baselines3 as sb3
    from minari.data_collector import EpisodeBuffer
    from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.save_util import save_to_pkl

FIXTURES = Path(__file__).parent / "fixtures" / "d3rlpy"
SHARED = Path(os.environ.get("REINCARNATE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
CARTPOLE = envs.spec("CartPole-v1")


def shared(name: str) -> Path:
    """Real data of others; inputs, never part of the project."""
    if not (SHARED / name).exists():
        pytest.skip(f"no {name} in {SHARED}; name the folder in REINCARNATE_DATA")
    return SHARED / name


def imported(address: str | Path, store: Path, spec: TaskSpec | None = None) -> Dataset:
    dataset = import_data(str(address), spec, store, lambda *_: None)
    verify(dataset)
    return dataset


def batch_of(dataset: Dataset) -> Batch:
    """Every transition, one step each, in the dataset's order."""
    source = cut(dataset, 1, 1.0)
    rows = np.flatnonzero(source.columns["flags"] & 4 == 0)
    batch = source.gather(rows)
    if not dataset.spec.continuous:
        return batch
    return batch._replace(action=torch.from_numpy(source.columns["action"][rows]))  # in the task's units


def refused(address: str | Path, match: str, spec: TaskSpec | None = None) -> None:
    with pytest.raises(UserError, match=match) as caught:
        for _ in read_logged(str(address), spec).blocks():
            pass
    assert "\n" not in str(caught.value)


def flags_of(dataset: Dataset) -> np.ndarray:
    return cut(dataset, 1, 1.0).columns["flags"]


# ---- steps to rows -----------------------------------------------------------------------------------------

EPISODES = st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=50)
@given(EPISODES)
def test_steps_at_once_make_the_rows_that_episodes_make_one_by_one(episodes):
    lengths, terminated = zip(*episodes, strict=True)
    last = np.cumsum(lengths) - 1
    steps = np.arange(last[-1] + 1)
    ended, died = np.isin(steps, last), np.isin(steps, last[np.array(terminated)])
    plan = outline(died, ended, np.ones(len(steps), bool), successors=True)
    spec = TaskSpec("", (1,), "float32", 99, 1, None, {})
    rows = plan.columns(spec, slice(None), (plan.step + plan.inserted)[:, None] * 1.0, steps, steps / 2)
    parts = [
        episode(spec, np.arange(n + 1.0)[:, None] + first, np.arange(n) + first, (np.arange(n) + first) / 2, end)
        for n, end, first in zip(lengths, terminated, last - np.array(lengths) + 1, strict=True)
    ]
    for name in rows:
        assert rows[name].tolist() == np.concatenate([part[name] for part in parts]).tolist(), name
        assert rows[name].dtype == parts[0][name].dtype


@settings(max_examples=50)
@given(EPISODES)
def test_without_successors_a_step_cut_by_a_limit_becomes_the_tail(episodes):
    lengths, terminated = zip(*episodes, strict=True)
    last = np.cumsum(lengths) - 1
    steps = np.arange(last[-1] + 1)
    died = np.isin(steps, last[np.array(terminated)])
    plan = outline(died, np.isin(steps, last), np.ones(len(steps), bool), successors=False)
    expected = []
    for n, end in episodes:
        expected += [0] * (n - 1) + [3, 4] if end else ([0] * (n - 2) + [2, 4] if n > 1 else [])
    assert plan.flags.tolist() == expected
    assert (plan.age == np.concatenate([np.arange(n + end) for n, end in episodes if n + end > 1] or [[]])).all()


# ---- d3rlpy ------------------------------------------------------------------------------------------------


def cartpole(state: np.ndarray, action: np.ndarray) -> np.ndarray:
    """CartPole's equations of motion: the next states [N, 4]."""
    x, v, angle, turn = state.astype(float).T
    push, cos, sin = np.where(action == 1, 10.0, -10.0), np.cos(angle), np.sin(angle)
    pull = (push + 0.05 * turn**2 * sin) / 1.1
    turning = (9.8 * sin - cos * pull) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    moving = pull - 0.05 * turning * cos / 1.1
    return np.stack([x + 0.02 * v, v + 0.02 * moving, angle + 0.02 * turn, turn + 0.02 * turning], 1)


def obeys_cartpole(batch: Batch) -> None:
    """Every successor is where physics leads, and an episode terminated where and only where the pole fell."""
    assert batch.next_obs is not None
    ahead = cartpole(batch.obs.numpy(), batch.action.numpy())
    lives = batch.discount.numpy() > 0
    assert np.abs(batch.next_obs.numpy() - ahead)[lives].max() < 1e-4
    beyond = np.maximum(np.abs(ahead[:, 0]) / 2.4, np.abs(ahead[:, 2]) / np.radians(12)) - 1
    assert beyond[lives].max() < 1e-5 and beyond[~lives].min() > -1e-5


def test_real_data_of_d3rlpy_obeys_the_laws_of_cartpole(tmp_path: Path):
    dataset = imported(shared("d3rlpy_cartpole_replay_v1.1.0.h5"), tmp_path, CARTPOLE)
    obeys_cartpole(batch_of(dataset))
    flags = flags_of(dataset)
    assert (np.count_nonzero(flags == 3), np.count_nonzero(flags == 2), dataset.transitions) == (1448, 134, 99_732)
    assert dataset.spec == CARTPOLE and dataset.manifest["about"]["reader"] == "d3rlpy v1"
    assert any("1,448 terminals within episodes" in line for line in dataset.manifest["about"]["warnings"])


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_transitions_are_those_that_d3rlpy_picks_from_its_own_file(kind: str, tmp_path: Path):
    dataset, picked = imported(FIXTURES / f"{kind}.h5", tmp_path), np.load(FIXTURES / f"{kind}.npz")
    batch = batch_of(dataset)
    assert batch.next_obs is not None
    lives = picked["terminal"] == 0
    assert np.array_equal(batch.obs.numpy(), picked["observation"])
    assert np.array_equal(
        batch.action.numpy(), picked["action"].squeeze(-1) if kind == "discrete" else picked["action"]
    )
    assert np.array_equal(batch.reward.numpy(), picked["reward"][:, 0])
    assert np.array_equal(batch.discount.numpy() > 0, lives)
    assert np.array_equal(batch.next_obs.numpy()[lives], picked["next_observation"][lives])


def test_d3rlpys_first_layout_without_ends_of_episodes_goes_by_its_terminals(tmp_path: Path):
    write(tmp_path / "a.h5", observations=np.zeros((6, 2)), actions=np.zeros(6, int), rewards=np.ones(6),
          terminals=np.array([0, 0, 1, 0, 0, 0.0]), discrete_action=np.array(True))  # fmt: skip
    assert reader_of(str(tmp_path / "a.h5")) == ("d3rlpy", str(tmp_path / "a.h5"))
    assert flags_of(imported(tmp_path / "a.h5", tmp_path)).tolist() == [0, 0, 3, 4, 0, 2, 4]


def test_a_student_pretrains_on_somebody_elses_log_and_is_told_what_it_lacks(tmp_path: Path, monkeypatch, capsys):
    data = shared("d3rlpy_cartpole_replay_v1.1.0.h5")
    monkeypatch.chdir(tmp_path)
    few = ["--eval-episodes", "2", "--final-episodes", "2", "--reference-episodes", "3", "--evaluations", "1"]
    small = ["--student.hidden", "8", "--student.warmup", "20", "--student.batch-size", "8", "--env-steps", "40"]
    main(["train", "pretrain", "--env", "CartPole-v1", "--data", f"d3rlpy:{data}", "--offline-updates", "20",
              *few, *small, "--compile", "off", "--out", "run"])  # fmt: skip
    result = json.loads(Path("run/result.json").read_text())
    (stored,) = Path(".reincarnate/data").iterdir()
    assert result["prior"]["data"] == open_dataset(stored).id and result["prior"]["data_env_steps"] == 99_732
    assert result["offline_updates"] == 20
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("warning: data: 1,448 terminals within episodes") == 1


# ---- minari ------------------------------------------------------------------------------------------------


def test_real_data_of_minari_is_what_minari_reads(tmp_path: Path, monkeypatch):
    folder = shared("minari_D4RL_door_human")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    dataset = imported("minari:D4RL/door/human-v2", tmp_path)
    assert (dataset.spec.id, dataset.spec.actions, dataset.transitions) == ("AdroitHandDoor-v1", 28, 6729)
    assert dataset.spec.bounds == ((-1.0,) * 28, (1.0,) * 28)
    same_as_minari(dataset, minari.load_dataset("D4RL/door/human-v2"))
    assert imported(folder / "D4RL" / "door" / "human-v2", tmp_path).id == dataset.id


def same_as_minari(dataset: Dataset, theirs) -> None:
    columns, at = cut(dataset, 1, 1.0).columns, 0
    for one in theirs.iterate_episodes():
        n = len(one.rewards)
        rows = slice(at, at + n + 1)
        assert np.array_equal(columns["frame"][rows], np.asarray(one.observations, np.float32))
        assert np.array_equal(columns["action"][at : at + n], one.actions)
        assert np.array_equal(columns["reward"][at : at + n], np.asarray(one.rewards, np.float32))
        assert columns["flags"][rows].tolist() == [0] * (n - 1) + [3 if one.terminations[-1] else 2, 4]
        at += n + 1
    assert at == len(columns["flags"])


def columns_of(samples: list[dict]) -> dict[str, list]:
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def write_minari(name: str, observations: gym.Space, actions: gym.Space, steps: int = 5):
    rng = np.random.default_rng(0)
    buffers = []
    for k in range(3):
        n = steps + k
        observations.seed(k)
        actions.seed(k)
        seen = [observations.sample() for _ in range(n + 1)]
        buffers.append(
            EpisodeBuffer(
                id=k,
                observations=seen if not isinstance(observations, gym.spaces.Dict) else columns_of(seen),
                actions=[actions.sample() for _ in range(n)],
                rewards=list(rng.random(n)),
                terminations=[False] * (n - 1) + [k == 1],
                truncations=[False] * (n - 1) + [k == 2],
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the dataset has no author
        return minari.create_dataset_from_buffers(name, buffers, observation_space=observations, action_space=actions)


BOX = gym.spaces.Box(-5, 5, (3,), np.float32)


@pytest.mark.parametrize("actions", [gym.spaces.Discrete(4), gym.spaces.Box(-2, 3, (2,), np.float32)])
def test_what_minari_writes_is_what_minari_reads(actions: gym.Space, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    theirs = write_minari("mine/set-v0", BOX, actions)
    dataset = imported("minari:mine/set-v0", tmp_path)
    same_as_minari(dataset, theirs)
    assert dataset.spec.bounds == (None if dataset.spec.actions == 4 else ((-2.0, -2.0), (3.0, 3.0)))
    assert reader_of(str(tmp_path / "sets/mine/set-v0")) == ("minari", str(tmp_path / "sets/mine/set-v0"))


def test_what_minari_holds_beside_arrays_is_refused_by_its_keys(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    write_minari("mine/dict-v0", gym.spaces.Dict({"eye": BOX, "goal": BOX}), gym.spaces.Discrete(2))
    refused("minari:mine/dict-v0", "Dict with keys eye, goal; a Box is needed")
    write_minari("mine/multi-v0", BOX, gym.spaces.MultiDiscrete([2, 3]))
    refused("minari:mine/multi-v0", "actions are MultiDiscrete")
    refused("minari:mine/none-v0", "no Minari dataset there or in .*sets; fetch it with `minari download mine/none-v0`")


def test_ends_within_a_group_of_minari_are_told(tmp_path: Path, monkeypatch):
    """An episode that goes on at the goal: it is parted at every mark, and a person hears of it."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    write_minari("mine/goal-v0", BOX, gym.spaces.Discrete(4))
    assert not read_logged("minari:mine/goal-v0", None).warnings
    with h5py.File(tmp_path / "sets/mine/goal-v0/data/main_data.hdf5", "r+") as file:
        file["episode_2/terminations"][3:6] = True  # of seven steps
    (warned,) = read_logged("minari:mine/goal-v0", None).warnings
    assert warned.startswith("1 of 3 episodes go on after 3 steps that are marked as ends")


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("D4RL/door/human-v2", "D4RL/door/human-v2"),
        ("door-v0", "door-v0"),
        ("/home/somebody/.minari/datasets/D4RL/door/human-v2", "D4RL/door/human-v2"),
        ("sets/atari/breakout/expert-v0/", "atari/breakout/expert-v0"),
    ],
)
def test_the_hint_for_a_dataset_that_is_not_here_names_it_whole(address: str, named: str, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    refused(f"minari:{address}", f"fetch it with `minari download (sets/)?{named}`")


# ---- D4RL --------------------------------------------------------------------------------------------------


def write(path: Path, **columns: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez_compressed(path, allow_pickle=True, **columns)
        return path
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column, compression="gzip" if column.ndim else None)
    return path


def walk(n: int = 40) -> dict[str, np.ndarray]:
    """Episodes of 7 steps; the first observation of each, 100 further on, does not follow the last successor."""
    at = np.arange(n)
    seen = (at + 100 * (at // 7))[:, None].astype(np.float32) * np.ones(2, np.float32)
    return {
        "observations": seen,
        "actions": np.sin(at)[:, None].astype(np.float32),
        "rewards": at.astype(np.float32),
        "terminals": at % 14 == 6,
        "timeouts": at % 14 == 13,
        "next_observations": seen + 1,
    }


def antmaze(episodes: int = 3, steps: int = 200, goal: int = 20) -> dict[str, np.ndarray]:
    """Every step at the goal is terminal; time-outs mark the ends."""
    at = np.arange(episodes * steps) % steps
    return {
        "observations": np.arange(len(at))[:, None] * np.ones(2, np.float32),
        "actions": np.zeros((len(at), 1), np.float32),
        "rewards": (at >= steps - goal).astype(np.float32),
        "terminals": at >= steps - goal,
        "timeouts": at == steps - 1,
    }


def test_terminals_at_every_step_of_a_goal_are_told(tmp_path: Path):
    logged = read_logged(str(write(tmp_path / "antmaze.hdf5", **antmaze())), None)
    assert [w for w in logged.warnings if w.startswith("57 steps terminate right after a termination")]
    bandit = antmaze(3, 20, 20)  # every episode is one step long, which is no cluster
    assert not read_logged(str(write(tmp_path / "bandit.hdf5", **bandit)), None).warnings
    assert not [
        w for w in read_logged(str(write(tmp_path / "walk.hdf5", **walk())), None).warnings if "right after" in w
    ]


@pytest.mark.parametrize("suffix", [".hdf5", ".npz"])
def test_columns_of_d4rl_give_every_step_with_its_true_successor(suffix: str, tmp_path: Path):
    columns = walk()
    path = write(tmp_path / f"a{suffix}", **columns)
    assert reader_of(str(path)) == ("d4rl", str(path))
    dataset = imported(path, tmp_path)
    batch = batch_of(dataset)
    assert batch.next_obs is not None
    for ours, theirs in (
        (batch.obs, "observations"),
        (batch.next_obs, "next_observations"),
        (batch.action, "actions"),
        (batch.reward, "rewards"),
    ):
        assert np.array_equal(ours.numpy(), columns[theirs]), theirs
    assert np.array_equal(batch.discount.numpy() == 0, columns["terminals"])


def test_d4rl_without_successors_loses_the_last_step_of_what_was_cut(tmp_path: Path):
    columns = {name: column for name, column in walk().items() if name != "next_observations"}
    dataset = imported(write(tmp_path / "a.hdf5", **columns), tmp_path)
    batch = batch_of(dataset)
    assert batch.next_obs is not None
    assert set(batch.reward.numpy()) == set(range(40)) - {13, 27, 39}
    lives = batch.discount.numpy() > 0
    assert np.array_equal(batch.next_obs.numpy()[lives], batch.obs.numpy()[lives] + 1)
    (warning,) = dataset.manifest["about"]["warnings"]
    assert "3 episodes were cut" in warning and "each loses one step" in warning


def test_d4rl_without_time_limits_finds_them_where_the_log_jumps(tmp_path: Path):
    columns = {name: column for name, column in walk().items() if name != "timeouts"}
    batch = batch_of(imported(write(tmp_path / "a.npz", **columns), tmp_path))
    assert batch.next_obs is not None
    assert np.array_equal(batch.next_obs.numpy(), walk()["next_observations"])


def test_d4rl_without_either_goes_by_the_tasks_limit_or_warns(tmp_path: Path):
    columns = {name: walk()[name] for name in ("observations", "actions", "rewards", "terminals")}
    path = write(tmp_path / "a.npz", **columns)
    assert "a step may lead into the next episode" in read_logged(str(path), None).warnings[0]
    task = TaskSpec("walk", (2,), "float32", 1, 1, None, {"max_episode_steps": 7}, ((-1.0,), (1.0,)))
    dataset = imported(path, tmp_path, task)
    assert "cut after 7 steps" in dataset.manifest["about"]["warnings"][0]
    assert set(batch_of(dataset).reward.numpy()) == set(range(40)) - {13, 27, 39}


# ---- Stable-Baselines3 -------------------------------------------------------------------------------------


def quietly(make: Callable):
    """Other people's warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("steps", [150, 400])
def test_the_replay_of_a_dqn_obeys_the_laws_of_cartpole(copies: int, steps: int, tmp_path: Path):
    def trained():
        env = make_vec_env(lambda: gym.make("CartPole-v1", max_episode_steps=15), copies)
        agent = sb3.DQN(
            "MlpPolicy", env, buffer_size=200 // copies * copies, learning_starts=10**6, device="cpu", seed=0
        )
        return agent.learn(steps)

    agent = quietly(trained)
    agent.save_replay_buffer(tmp_path / "replay.pkl")
    path = str(tmp_path / "replay.pkl")
    assert reader_of(path) == ("sb3-replay", path)
    dataset = imported(path, tmp_path, CARTPOLE)
    batch = batch_of(dataset)
    obeys_cartpole(batch)
    buffer = agent.replay_buffer
    held = buffer.size() * copies
    assert dataset.transitions == held and len(np.unique(batch.obs.numpy(), axis=0)) == held
    limits = np.count_nonzero(buffer.timeouts[: buffer.size()])
    assert limits and np.count_nonzero(flags_of(dataset) == 2) >= limits


def test_the_actions_of_a_sac_are_in_the_tasks_units_though_its_buffer_scales_them(tmp_path: Path):
    agent = quietly(
        lambda: sb3.SAC("MlpPolicy", "Pendulum-v1", buffer_size=500, learning_starts=10**6, seed=0).learn(450)
    )
    agent.save_replay_buffer(tmp_path / "replay.pkl")
    dataset = imported(tmp_path / "replay.pkl", tmp_path, envs.spec("Pendulum-v1"))
    batch = batch_of(dataset)
    cos, sin, speed = batch.obs.numpy().T
    cost = np.arctan2(sin, cos) ** 2 + 0.1 * speed**2 + 0.001 * batch.action.numpy()[:, 0] ** 2
    assert np.abs(batch.reward.numpy() + cost).max() < 1e-3 and np.abs(batch.action.numpy()).max() > 1.9
    assert dataset.transitions == 450 and dataset.spec.bounds == ((-2.0,), (2.0,))
    assert np.count_nonzero(flags_of(dataset) == 2) == 3  # two time limits and the end of the log


def filled(steps: int, thrifty: bool, shape: tuple[int, ...] = (2,), size: int = 50) -> ReplayBuffer:
    """A buffer whose observations count the steps of an endless walk in episodes of 9 steps."""
    space = gym.spaces.Box(0, 255, shape, np.uint8) if len(shape) > 1 else gym.spaces.Box(-np.inf, np.inf, shape)
    made = ReplayBuffer(size, space, gym.spaces.Discrete(3), "cpu", 1, thrifty, handle_timeout_termination=not thrifty)
    for k in range(steps):
        now, after = (np.full((1, *shape), v, space.dtype) for v in (k + k // 9, k + k // 9 + 1))
        made.add(now, after, np.array([k % 3]), np.array([k * 1.0]), np.array([k % 9 == 8]), [{}])
    return made


@pytest.mark.parametrize("thrifty", [False, True])
@pytest.mark.parametrize("steps", [33, 50, 77])
def test_samples_of_a_buffer_are_those_that_its_library_gives(steps: int, thrifty: bool, tmp_path: Path):
    made = filled(steps, thrifty)
    save_to_pkl(tmp_path / "b.pkl", made)
    batch = batch_of(imported(tmp_path / "b.pkl", tmp_path))
    assert batch.next_obs is not None
    indices = np.arange(made.size())
    if thrifty and made.full:
        indices = (indices[1:] + made.pos) % made.buffer_size  # that row is never sampled
    theirs = made._get_samples(indices)
    rewards = {float(r): k for k, r in enumerate(theirs.rewards[:, 0])}
    ours = [rewards[float(r)] for r in batch.reward]
    assert set(rewards.values()) == set(ours)  # the newest too, whose successor lies in the row written next
    lives = batch.discount.numpy() > 0
    assert np.array_equal(batch.obs.numpy(), theirs.observations.numpy()[ours])
    assert np.array_equal(batch.action.numpy(), theirs.actions[:, 0].numpy()[ours])
    assert np.array_equal(lives, theirs.dones[:, 0].numpy()[ours] == 0)
    assert np.array_equal(batch.next_obs.numpy()[lives], theirs.next_observations.numpy()[ours][lives])


@pytest.mark.parametrize("end", ["cut", "terminated"])
def test_each_copy_of_a_thrifty_buffer_keeps_its_newest_step(end: str, tmp_path: Path):
    space = gym.spaces.Box(-np.inf, np.inf, (1,))
    made = ReplayBuffer(12, space, gym.spaces.Discrete(3), "cpu", 2, True, handle_timeout_termination=False)
    for k in range(9):  # two copies, one step each
        now = np.array([[k], [k + 100]], np.float32)
        done = np.array([k == 8 and end == "terminated"] * 2)
        made.add(now, now + 1, np.array([[k % 3], [1]]), np.array([k, k + 100.0]), done, [{}, {}])
    save_to_pkl(tmp_path / "b.pkl", made)
    batch = batch_of(imported(tmp_path / "b.pkl", tmp_path))
    # Six rows for each copy, of which the newest successor has taken the oldest observation's place.
    assert sorted(batch.reward.tolist()) == [4, 5, 6, 7, 8, 104, 105, 106, 107, 108]
    for newest in (batch.reward.tolist().index(8), batch.reward.tolist().index(108)):
        assert (batch.discount[newest] == 0) == (end == "terminated")
        assert batch.next_obs is not None and (end == "terminated" or batch.next_obs[newest] == batch.obs[newest] + 1)


def test_stacks_of_frames_become_single_frames_where_the_task_stacks_them_itself(tmp_path: Path):
    space = gym.spaces.Box(0, 255, (4, 5, 5), np.uint8)
    made, stack = ReplayBuffer(60, space, gym.spaces.Discrete(2), "cpu"), np.zeros((1, 4, 5, 5), np.uint8)
    stack[:, -1] = 1
    for k in range(70):
        done = k % 10 == 9
        after = np.concatenate([stack[:, 1:], np.full((1, 1, 5, 5), k + 2, np.uint8)], 1)
        made.add(stack, after, np.array([k % 2]), np.array([1.0]), np.array([done]), [{"TimeLimit.truncated": done}])
        stack = after if not done else np.concatenate([np.zeros_like(after[:, 1:]), after[:, -1:] + 100], 1)
    save_to_pkl(tmp_path / "b.pkl", made)
    task = TaskSpec("frames", (4, 5, 5), "uint8", 3, 4, 1.0, {})
    dataset = imported(tmp_path / "b.pkl", tmp_path, task)
    assert cut(dataset, 1, 1.0).columns["frame"].shape[1:] == (5, 5)
    ours, theirs = batch_of(dataset), batch_of(imported(tmp_path / "b.pkl", tmp_path))
    assert ours.next_obs is not None and theirs.next_obs is not None
    # The oldest episode's beginning was overwritten: frames are missing only where single ones are kept.
    lost = len(theirs.obs) - len(ours.obs)
    assert (len(theirs.obs), lost) == (60, 10 - made.pos % 10)
    assert np.array_equal(ours.obs.numpy(), theirs.obs.numpy()[lost:])
    assert np.array_equal(ours.next_obs.numpy(), theirs.next_obs.numpy()[lost:])
    save_to_pkl(tmp_path / "c.pkl", filled(40, False, (4, 5, 5)))
    with pytest.raises(UserError, match="are not stacks of frames"):
        imported(tmp_path / "c.pkl", tmp_path, task)


def test_a_buffer_of_dictionaries_is_refused_by_its_keys(tmp_path: Path):
    space = gym.spaces.Dict({"eye": BOX, "goal": BOX})
    made = DictReplayBuffer(5, space, gym.spaces.Discrete(2), "cpu")
    save_to_pkl(tmp_path / "b.pkl", made)
    refused(tmp_path / "b.pkl", "DictReplayBuffer, whose observations are dictionaries with keys eye, goal")


def test_an_empty_buffer_is_refused(tmp_path: Path):
    save_to_pkl(tmp_path / "b.pkl", filled(0, False))
    refused(tmp_path / "b.pkl", "holds no steps")


# ---- tasks -------------------------------------------------------------------------------------------------


def test_data_is_converted_once_and_takes_on_the_tasks_protocol(tmp_path: Path):
    first, ticks = imported(FIXTURES / "discrete.h5", tmp_path, TASK), []
    again = import_data(str(FIXTURES / "discrete.h5"), TASK, tmp_path, lambda *tick: ticks.append(tick))
    assert again.path == first.path and not ticks and again.spec == TASK
    assert len(list((tmp_path / "data").iterdir())) == 1
    clipping = TaskSpec("clipped", (3,), "float32", 300, 1, 0.5, {})
    columns = cut(imported(FIXTURES / "discrete.h5", tmp_path, clipping), 1, 1.0).columns
    assert np.abs(columns["reward"]).max() == 0.5 and columns["action"].dtype == np.int32


TASK = TaskSpec("three", (3,), "float32", 4, 1, None, {"env": "three"})
MISFITS = {
    r"observations are float32\[3\], those of other float32\[4\]": ((4,), 4, None),
    "4 actions; other has 2": ((3,), 2, None),
    "discrete actions; those of other are continuous": ((3,), 1, ((0.0,), (1.0,))),
}


@pytest.mark.parametrize("words", MISFITS)
def test_data_of_another_task_is_refused_in_words(words: str):
    shape, actions, bounds = MISFITS[words]
    refused(FIXTURES / "discrete.h5", words, TaskSpec("other", shape, "float32", actions, 1, None, {}, bounds))


def test_what_the_files_say_of_another_protocol_is_a_warning(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write_minari("mine/set-v0", BOX, gym.spaces.Discrete(4))
    about = tmp_path / "mine/set-v0/data/metadata.json"
    about.write_text(
        json.dumps({**json.loads(about.read_text()), "env_spec": json.dumps({"id": "four", "max_episode_steps": 9})})
    )
    logged = read_logged("minari:mine/set-v0", TASK)
    assert logged.spec.protocol == {"env": "four", "max_episode_steps": 9}
    assert logged.warnings == ("the data is of env = four, three has three",)


def test_an_address_of_nothing_names_what_could_be_there(tmp_path: Path):
    with pytest.raises(UserError, match="there is nothing; logged data is one of dopamine:, minari:"):
        read_logged(str(tmp_path / "none.h5"), None)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="no data that can be recognised"):
        read_logged(str(tmp_path / "text"), None)
    with pytest.raises(UserError, match="names no data; write d4rl:PATH"):
        read_logged("d4rl:", None)


def test_convert_writes_a_dataset_that_is_data_like_any_other(tmp_path: Path, capsys):
    main(["convert", str(FIXTURES / "continuous.h5"), "--out", str(tmp_path / "out")])
    (folder,) = (tmp_path / "out").iterdir()
    dataset = open_dataset(folder)
    assert dataset.id.startswith(folder.name) and dataset.spec.continuous
    printed = capsys.readouterr()
    assert printed.out == f"{folder}: {dataset.transitions} transitions of an unnamed task, read as d3rlpy v2\n"
    assert "each loses one step" in printed.err


def test_ten_gigabytes_that_a_changed_manifest_claims_are_refused_and_not_read(tmp_path: Path):
    main(["convert", str(FIXTURES / "discrete.h5"), "--out", str(tmp_path)])
    (folder,) = tmp_path.iterdir()
    rows, manifest = 10 * 2**30 // 12, json.loads((folder / "manifest.json").read_text())
    for name, column in manifest["columns"].items():
        array = np.load(folder / f"{name}.npy", mmap_mode="r")
        column["shape"][0] = rows
        content = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            content, {"descr": array.dtype.str, "fortran_order": False, "shape": (rows, *array.shape[1:])}
        )
        (folder / f"{name}.npy").write_bytes(content.getvalue())
        os.truncate(folder / f"{name}.npy", len(content.getvalue()) + rows * array[:1].nbytes)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = Path("/proc/self/io").read_text() if Path("/proc/self/io").exists() else ""
    with pytest.raises(UserError, match="not those of its hash"):
        open_dataset(folder)
    if before:
        read = [int(text.split("rchar: ")[1].split()[0]) for text in (before, Path("/proc/self/io").read_text())]
        assert read[1] - read[0] < 1 << 20


# ---- hostile files -----------------------------------------------------------------------------------------


def hdf5(path: Path, change: Callable[[h5py.File], object]) -> Path:
    write(path, **walk())
    with h5py.File(path, "a") as file:
        change(file)
    return path


def without(file: h5py.File, name: str) -> h5py.File:
    del file[name]
    return file


HOSTILE: dict[str, Callable[[h5py.File], object]] = {
    "is a link to another place or file": lambda f: without(f, "rewards").__setitem__("rewards", h5py.ExternalLink("/etc/passwd", "/")),
    "is kept in another file": lambda f: without(f, "rewards").create_dataset("rewards", (40,), "f4", external=[("/etc/passwd", 0, 160)]),
    "more than the file holds": lambda f: without(f, "observations").create_dataset("observations", (40, 10**11), "f4", chunks=(1, 100)),
    "rewards holds object, not numbers": lambda f: without(f, "rewards").create_dataset("rewards", data=["a"] * 40),
    "is a group of x": lambda f: without(f, "rewards").create_group("rewards").create_group("x"),
    "terminals: a column of zeros and ones": lambda f: without(f, "terminals").create_dataset("terminals", data=np.arange(40.0)),
    "columns have different lengths": lambda f: without(f, "actions").create_dataset("actions", data=np.zeros((39, 1), "f4")),
    "actions are not all finite": lambda f: without(f, "actions").create_dataset("actions", data=np.full((40, 1), np.nan)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_columns_are_refused_in_words(words: str, tmp_path: Path):
    refused(f"d4rl:{hdf5(tmp_path / 'a.hdf5', HOSTILE[words])}", words)


def test_numbers_that_are_not_finite_are_not_written_into_a_dataset(tmp_path: Path):
    columns = walk()
    columns["observations"][17] = np.nan
    columns["next_observations"][16] = np.nan
    path = write(tmp_path / "a.npz", **columns)
    with pytest.raises(UserError, match="row 19 of the data has a frame that is not a finite number"):
        imported(path, tmp_path / "store")
    assert not list((tmp_path / "store" / "data").iterdir())


def test_an_archive_of_objects_or_of_more_than_it_holds_is_refused(tmp_path: Path):
    write(tmp_path / "a.npz", **{**walk(), "rewards": np.array([{}] * 40)})
    refused(f"d4rl:{tmp_path / 'a.npz'}", "rewards holds object")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    write(tmp_path / "b.npz", **{name: column for name, column in walk().items() if name != "rewards"})
    with zipfile.ZipFile(tmp_path / "b.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rewards.npy", header.getvalue() + bytes(10**6))
    refused(f"d4rl:{tmp_path / 'b.npz'}", "archives over 4096 MiB are refused")


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    made = filled(20, False)
    setattr(made, "rewards", Payload())  # noqa: B010  not what its annotation says
    save_to_pkl(tmp_path / "b.pkl", made)
    refused(tmp_path / "b.pkl", "refers to posix.mkdir, which has no business there; refused, nothing was run")
    assert not (tmp_path / "made").exists()


def test_without_h5py_the_message_says_what_to_install(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "a.hdf5", **walk())
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    refused(path, r"needs h5py: pip install 'reincarnate\[hdf5\]'")


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_logs_are_read_or_refused_in_one_line(name: str, tmp_path: Path):
    (tmp_path / "made").mkdir()
    found = fuzz(TARGETS[name](tmp_path / "made"), 60, seed=1, folder=tmp_path)
    assert set(found) <= {"opened", "refused"}, found


def test_a_pickle_that_names_things_over_two_lines_is_refused_in_one(tmp_path: Path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04\x8c\x09posix\nxyz\x8c\x06system\x93.")
    refused(f"sb3-replay:{tmp_path / 'a.pkl'}", "refers to posix xyz.system")
