"""Every reader of logged data with a small valid log of its own, to be damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
from fuzzing import Target
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.save_util import save_to_pkl

from reincarnate.data.readers import read_logged
from reincarnate.priors.data_report import describe_data

FIXTURES = Path(__file__).parent / "fixtures"


def read(address: str) -> Callable[[Path], object]:
    """Reads a log front to back, and looks at it."""
    return lambda folder: describe_data(read_logged(address.format(folder), None), np.random.default_rng(0))


def target(name: str, folder: Path, address: str) -> Target:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".npz", ".py")]
    return Target(name, {str(path.relative_to(folder)): path.read_bytes() for path in files}, read(address))


def dopamine(folder: Path) -> Target:
    return target("dopamine", FIXTURES / "dopamine_replay" / "wrapped", "dopamine:{}")


def d3rlpy(folder: Path) -> Target:
    shutil.copy(FIXTURES / "d3rlpy" / "discrete.h5", folder / "a.h5")
    return target("d3rlpy", folder, "d3rlpy:{}/a.h5")


def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observations": rng.random((30, 3)),
        "actions": rng.random((30, 2)),
        "rewards": rng.random(30),
        "terminals": np.arange(30) % 7 == 6,
    }


def d4rl(folder: Path) -> Target:
    with h5py.File(folder / "a.hdf5", "w") as file:
        for name, column in columns().items():
            file.create_dataset(name, data=column, compression="gzip")
    return target("d4rl", folder, "d4rl:{}/a.hdf5")


def npz(folder: Path) -> Target:
    np.savez_compressed(folder / "a.npz", allow_pickle=True, **columns())
    return Target("npz", {"a.npz": (folder / "a.npz").read_bytes()}, read("d4rl:{}/a.npz"))


def sb3_replay(folder: Path) -> Target:
    space = gym.spaces.Box(-1, 1, (3,))
    buffer = ReplayBuffer(20, space, gym.spaces.Box(-2, 2, (1,)), "cpu")
    for k in range(15):
        buffer.add(np.ones((1, 3)), np.ones((1, 3)), np.zeros(1), np.ones(1), np.array([k % 5 == 4]), [{}])
    save_to_pkl(folder / "a.pkl", buffer)
    return target("sb3-replay", folder, "sb3-replay:{}/a.pkl")


def minari(folder: Path) -> Target:
    box = '{"type": "Box", "dtype": "float32", "shape": [%d], "low": %s, "high": %s}'
    spaces = {"observation_space": box % (2, [-9.0] * 2, [9.0] * 2), "action_space": '{"type": "Discrete", "n": 3}'}
    (folder / "metadata.json").write_text(json.dumps({**spaces, "total_steps": 8}))
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for k in range(2):
            group = file.create_group(f"episode_{k}")
            group["observations"], group["actions"] = np.zeros((5, 2), np.float32), np.arange(4) % 3
            group["rewards"], group["truncations"] = np.ones(4), np.zeros(4, bool)
            group["terminations"] = np.arange(4) == 3
    return target("minari", folder, "minari:{}")


TARGETS: dict[str, Callable[[Path], Target]] = {
    "dopamine": dopamine,
    "minari": minari,
    "d3rlpy": d3rlpy,
    "d4rl": d4rl,
    "npz": npz,
    "sb3-replay": sb3_replay,
}
