"""Pickles for SB3's loaders, of Gymnasium's spaces, plain values and names alone; made without SB3."""

import base64
import io
import json
import pickle
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from reincarnate.agents.agent import Agent
from reincarnate.nets.normalise import CLIP, EPSILON, ObservationNorm
from reincarnate.students.policy_network import PolicyNetwork
from reincarnate.types import TaskSpec

PROTOCOL = 3  # the newest in which a value may be written apart from those around it


def observations(spec: TaskSpec) -> gymnasium.Space:
    """The task's own, where Gymnasium knows it and it looks the same; else as wide as the dtype allows."""
    if ":" not in spec.id and spec.id in gymnasium.registry:
        try:
            env = gymnasium.make(spec.id)
            space = env.observation_space
            env.close()
        except Exception:  # whatever it is that keeps a task from being made
            space = None
        if isinstance(space, gymnasium.spaces.Box) and space.shape == spec.obs_shape:
            return gymnasium.spaces.Box(space.low, space.high, dtype=space.dtype)  # pyright: ignore[reportArgumentType]
    dtype = np.dtype(spec.obs_dtype)
    low, high = {"u": (0, 255), "b": (0, 1)}.get(dtype.kind, (-np.inf, np.inf))
    return gymnasium.spaces.Box(low, high, spec.obs_shape, dtype)  # pyright: ignore[reportArgumentType]


def actions(spec: TaskSpec) -> gymnasium.Space:
    """The task's actions."""
    if spec.bounds is None:
        return gymnasium.spaces.Discrete(spec.actions)
    low, high = (np.array(bound, np.float32) for bound in spec.bounds)
    return gymnasium.spaces.Box(low, high, dtype=np.float32)


def space_entry(space: gymnasium.Space) -> dict[str, Any]:
    """A space as an entry of `data`."""
    return _object(space, pickle.dumps(space, PROTOCOL), vars(space))


def kwargs_entry(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON where there are no classes among them."""
    if any(isinstance(value, type) for value in kwargs.values()):
        return _object(kwargs, pickle.dumps(kwargs, PROTOCOL), kwargs)
    return kwargs


def _object(value: Any, pickled: bytes, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `data` as SB3 writes it: the pickle, and beside it in words what is in it."""
    told = {key: item if _is_json(item) else str(item) for key, item in attributes.items()}
    return {":type:": str(type(value)), ":serialized:": base64.b64encode(pickled).decode(), **told}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def class_entry(module: str, name: str) -> dict[str, Any]:
    """A class by its name."""
    serialized = base64.b64encode(HEAD + global_(module, name) + pickle.STOP).decode()
    return {":type:": "<class 'abc.ABCMeta'>", ":serialized:": serialized, "__module__": module}


HEAD = pickle.PROTO + bytes([PROTOCOL])


def global_(module: str, name: str) -> bytes:
    """The opcode that finds a name in a module."""
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def statistics(agent: Agent) -> bytes | None:
    """A pickle of `VecNormalize` with the agent's statistics, for `VecNormalize.load`; None where it has none.

    Only plain values, arrays and spaces lie in it, and the names of `VecNormalize` and `RunningMeanStd`.
    """
    network: Any = agent.network()
    obs = network.obs_norm if isinstance(network, PolicyNetwork) else getattr(network, "norm", None)
    obs = obs if isinstance(obs, ObservationNorm) else None
    reward = getattr(network, "reward_norm", None)
    if obs is None and reward is None:
        return None
    module = "stable_baselines3.common.running_mean_std"
    plain_values: dict[str, Any] = {
        **{"num_envs": 1, "observation_space": observations(agent.spec), "action_space": actions(agent.spec)},
        **{"reset_infos": [{}], "_seeds": [None], "_options": [{}], "render_mode": None, "metadata": {}},
        **{"norm_obs": obs is not None, "norm_obs_keys": None, "clip_obs": CLIP, "clip_reward": CLIP},
        **{"gamma": agent.student.gamma, "epsilon": EPSILON, "training": True, "norm_reward": reward is not None},
        "old_reward": np.array([]),
    }
    moments = {"ret_rms": _moments(reward, ()), **({"obs_rms": _moments(obs, agent.spec.obs_shape)} if obs else {})}
    entries = b"".join(_value_of(key) + _value_of(value) for key, value in plain_values.items())
    for key, value in moments.items():
        entries += _value_of(key) + _instance(module, "RunningMeanStd", _dictionary(value))
    whole = _instance("stable_baselines3.common.vec_env.vec_normalize", "VecNormalize", _table(entries))
    return HEAD + whole + pickle.STOP


def _moments(norm: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    if norm is None:
        return {"mean": np.zeros(shape), "var": np.ones(shape), "count": 1e-4}
    m = norm.moments
    return {"mean": m.mean.cpu().numpy().copy(), "var": m.var.cpu().numpy().copy(), "count": float(m.count)}


def _value_of(value: Any) -> bytes:
    """A value's opcodes, without memory of what came before, so that they can stand anywhere."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, PROTOCOL)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[len(HEAD) : -1]


def _dictionary(values: Mapping[str, Any]) -> bytes:
    return _table(b"".join(_value_of(key) + _value_of(value) for key, value in values.items()))


def _table(entries: bytes) -> bytes:
    return pickle.EMPTY_DICT + pickle.MARK + entries + pickle.SETITEMS


def _instance(module: str, name: str, state: bytes) -> bytes:
    """An object of a class by its name, and its state."""
    return global_(module, name) + pickle.EMPTY_TUPLE + pickle.NEWOBJ + state + pickle.BUILD
