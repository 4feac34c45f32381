"""SB3 agents that see a Dict of images and vectors, normalised or not: read without unpickling, they say the same."""

import warnings
from copy import deepcopy
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from asking import says
from gymnasium import spaces

from reincarnate import envs
from reincarnate.errors import UserError
from reincarnate.priors.weights import open_weights
from reincarnate.teachers.fit import check_fit, open_for
from reincarnate.teachers.sb3 import open_address
from reincarnate.types import TimeStep

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import sb3_contrib
    import stable_baselines3 as sb3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage

FEW = {"n_steps": 8, "batch_size": 8, "device": "cpu", "seed": 0}
SMALL = {"buffer_size": 20, "learning_starts": 1000, "device": "cpu", "seed": 0}
CAMERA = spaces.Box(0, 255, (36, 40, 3), np.uint8)
ROOM = {"speed": spaces.Box(-9, 9, (2, 2), np.float32), "camera": CAMERA, "gear": spaces.Discrete(3)}
FLOATS = {"far": spaces.Box(-99, 99, (3,), np.float32), "near": spaces.Box(-1, 1, (2,), np.float32)}


class Seeing(gymnasium.Env):
    """Shows what its space holds, far from zero, so that statistics matter."""

    def __init__(self, room: dict[str, spaces.Space] | spaces.Space = ROOM, continuous: bool = False):
        self.observation_space = deepcopy(spaces.Dict(room) if isinstance(room, dict) else room)
        self.action_space = spaces.Box(-2, 2, (1,), np.float32) if continuous else spaces.Discrete(3)
        self.observation_space.seed(0)
        self.t = 0

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), 0.0, self.t == 5, False, {}


class Floats(Seeing):
    def __init__(self):
        super().__init__(FLOATS)


class Screens(Seeing):
    def __init__(self):
        super().__init__(CAMERA)


class Continuous(Seeing):
    def __init__(self):
        super().__init__(ROOM, True)


@torch.no_grad()
def agree(kind, task, tmp_path: Path, policy: str = "MultiInputPolicy", **more):
    """An agent of that kind and the teacher that is read from its zip say the same of twelve moments of the task."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = kind(policy, task(), **more)
    for parameter in agent.policy.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    agent.save(tmp_path / "a.zip")
    spec = envs.spec(task)
    teacher = open_for(f"sb3:{tmp_path / 'a.zip'}", spec)
    assert not check_fit(teacher.card, spec)
    space = task().observation_space
    space.seed(3)
    raw = [space.sample() for _ in range(12)]
    see = envs.spaces.seeing(space, "it")
    rows = torch.from_numpy(np.stack([see.encode(one) if see.encode else one for one in raw]))
    said, _ = teacher.predict(TimeStep(rows, torch.ones(12, dtype=torch.bool)), teacher.initial(12))
    for one, told in zip(raw, said.x, strict=True):
        tensor, _ = agent.policy.obs_to_tensor(one)
        if said.kind == "logits":
            expected = agent.policy.get_distribution(tensor).distribution.logits
            told = told.log_softmax(0)
        elif said.kind == "values":
            expected = agent.q_net(tensor) if hasattr(agent, "q_net") else agent.quantile_net(tensor).mean(1)
        else:
            expected = torch.as_tensor(agent.predict(one, deterministic=True)[0]) / 2
            told = told.chunk(2)[0].tanh() if said.kind == "squashed" else told
        torch.testing.assert_close(told, expected.flatten(), rtol=1e-4, atol=1e-4)
    return teacher


@pytest.mark.parametrize("kind, more", [(sb3.PPO, FEW), (sb3.DQN, SMALL), (sb3_contrib.MaskablePPO, FEW)])
def test_images_of_a_dict_go_through_convolutions_of_their_own(kind, more, tmp_path):
    teacher = agree(kind, Seeing, tmp_path, **more)
    assert "camera: NatureCNN 3x36x40-256" in teacher.card.network
    assert "camera (an image, divided by 255)" in teacher.card.preprocessing


def test_so_they_do_before_continuous_actions(tmp_path):
    agree(sb3.SAC, Continuous, tmp_path, **SMALL)


def test_images_that_were_not_to_be_divided_are_not(tmp_path):
    agree(sb3.PPO, Seeing, tmp_path, **FEW, policy_kwargs={"normalize_images": False})


def test_screens_with_their_colours_last_are_turned_for_a_teacher_that_has_them_first(tmp_path):
    teacher = agree(sb3.PPO, Screens, tmp_path, "CnnPolicy", **FEW)
    assert teacher.card.obs_shape == (36, 40, 3) and "channels brought first" in teacher.card.preprocessing


def test_a_recurrent_agent_has_its_convolutions_before_its_memory(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = sb3_contrib.RecurrentPPO(
            "MultiInputLstmPolicy", Seeing(), **FEW, policy_kwargs={"lstm_hidden_size": 6, "net_arch": [5]}
        )
    agent.save(tmp_path / "a.zip")
    spec = envs.spec(Seeing)
    teacher, space = open_for(f"sb3:{tmp_path / 'a.zip'}", spec), Seeing().observation_space
    see, state, carry = envs.spaces.seeing(space, "it"), None, teacher.initial(1)
    for t in range(4):
        raw, begins = space.sample(), np.array([t == 0])
        _, state = agent.policy.predict(raw, state, begins)
        row = torch.from_numpy(see.encode(raw))[None]
        _, carry = teacher.predict(TimeStep(row, torch.from_numpy(begins)), carry)
    assert np.allclose(carry.flatten(), np.concatenate([part.ravel() for part in state]), atol=1e-5)
    assert teacher.card.network.startswith("camera: NatureCNN") and "LSTM 6" in teacher.card.network


# ---- statistics ---------------------------------------------------------------------------------------


def trained(folder: Path, keys: list[str] | None, room=None, kind=sb3.PPO):
    """An agent of a `VecNormalize`, saved beside its statistics."""
    env = VecNormalize(DummyVecEnv([(lambda: Seeing(room or FLOATS))]), norm_obs_keys=keys)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = kind("MultiInputPolicy", env, **(FEW if kind is sb3.PPO else SMALL)).learn(16)
    folder.mkdir(exist_ok=True)
    agent.save(folder / "agent.zip")
    env.save(str(folder / "vecnormalize.pkl"))
    return agent, env


@pytest.mark.parametrize(
    "kind, keys, room",
    [(sb3.PPO, None, FLOATS), (sb3.PPO, ["far"], FLOATS), (sb3.PPO, ["speed"], ROOM), (sb3.DQN, ["far"], FLOATS)],
)
def test_the_keys_that_were_normalised_are_and_no_others(kind, keys, room, tmp_path):
    agent, env = trained(tmp_path, keys, room, kind)
    teacher = open_address(str(tmp_path / "agent.zip"))
    space = Seeing(room).observation_space
    raw = [space.sample() for _ in range(6)]
    see = envs.spaces.seeing(space, "it")
    entries = {entry.key: entry for entry in teacher.entries}
    for one in raw:
        turned = {k: np.moveaxis(v, -1, 0) if entries[k].image else v for k, v in one.items()}
        row = np.concatenate([_flat(space[key], turned[key]) for key in entries])
        ours, _ = says(teacher, torch.from_numpy(row)[None])
        tensor, _ = agent.policy.obs_to_tensor(env.normalize_obs(one))
        with torch.no_grad():
            dqn = kind is sb3.DQN
            theirs = agent.q_net(tensor) if dqn else agent.policy.get_distribution(tensor).distribution.logits
        torch.testing.assert_close(ours if dqn else ours.log_softmax(1), theirs, rtol=1e-4, atol=1e-4)
    assert see.shape == teacher.card.obs_shape
    assert "they turn its last raw observation into the one it saw" in teacher.card.preprocessing


def _flat(space, value) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        return np.eye(space.n, dtype=np.float32)[value]
    return np.asarray(value, np.float32).ravel()


def test_statistics_of_other_keys_are_refused_by_name(tmp_path):
    trained(tmp_path / "a", None)
    trained(tmp_path / "b", ["speed"], ROOM)
    with pytest.raises(UserError, match=r"of a Dict with speed \(2, 2\) do not fit"):
        open_address(f"{tmp_path / 'a' / 'agent.zip'}?vecnormalize={tmp_path / 'b' / 'vecnormalize.pkl'}")


def test_such_agents_are_teachers_and_do_not_go_on_as_students(tmp_path):
    trained(tmp_path / "part", ["far"])
    with pytest.raises(UserError, match="some keys are normalised and some are not; it can be a teacher"):
        open_weights(f"sb3:{tmp_path / 'part' / 'agent.zip'}")
    sb3.PPO("MultiInputPolicy", Seeing(), **FEW).save(tmp_path / "images.zip")
    with pytest.raises(UserError, match=r"images in a Dict.*it can be a teacher"):
        open_weights(f"sb3:{tmp_path / 'images.zip'}")


# ---- order and frames ---------------------------------------------------------------------------------


def test_a_dict_of_another_order_is_sorted_and_one_of_other_entries_refused(tmp_path):
    agent = sb3.PPO("MultiInputPolicy", Floats(), **FEW)
    agent.save(tmp_path / "a.zip")
    spec = envs.spec(Floats)
    teacher = open_for(f"sb3:{tmp_path / 'a.zip'}", spec)
    near, far = (spec.protocol["observation"][i] for i in (1, 0))
    other = spec.__class__(**{**spec.__dict__, "protocol": {"observation": [near, far]}})
    moved = open_for(f"sb3:{tmp_path / 'a.zip'}", other)
    row = torch.arange(5.0)[None]
    assert torch.equal(says(teacher, row)[0], says(moved, torch.cat([row[:, 3:], row[:, :3]], 1))[0])
    wrong = spec.__class__(**{**spec.__dict__, "protocol": {"observation": [["x", 3, [3], "float32"], near]}})
    with pytest.raises(UserError, match=r"sees far \(3,\), near \(2,\); that shows x \(3,\)"):
        open_for(f"sb3:{tmp_path / 'a.zip'}", wrong)


@pytest.mark.parametrize("grey", [False, True])
def test_an_agent_of_stacked_frames_sees_a_task_that_stacks_them(grey, tmp_path):
    def one():
        env = Screens()
        return gymnasium.wrappers.GrayscaleObservation(env, keep_dim=True) if grey else env

    venv = VecTransposeImage(VecFrameStack(DummyVecEnv([one]), 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = sb3.PPO("CnnPolicy", venv, **FEW)
    agent.save(tmp_path / "a.zip")
    task = f"{Screens.__module__}:Screens?frame_stack=3{'&greyscale=true' if grey else ''}"
    spec = envs.spec(task)
    teacher = open_for(f"sb3:{tmp_path / 'a.zip'}", spec)
    assert not check_fit(teacher.card, spec)
    made, theirs = envs.make(task, 1), venv.reset()
    made.begin(np.array([0]))
    for _ in range(4):
        ours = made.step(np.array([0])).obs
        theirs = venv.step([0])[0]
    assert ours.shape[1:] == spec.obs_shape
    shown = ours if grey else np.moveaxis(ours, -1, 1)
    assert shown.shape == theirs.shape and (grey or (shown == theirs).all())  # other weights of the colours there
    said, _ = says(teacher, torch.from_numpy(ours))
    with torch.no_grad():
        told = agent.policy.get_distribution(torch.from_numpy(np.ascontiguousarray(shown))).distribution.logits
    torch.testing.assert_close(said.log_softmax(1), told, rtol=1e-4, atol=1e-4)
