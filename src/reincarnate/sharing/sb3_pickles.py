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
from reincarnate.sharing.sb3_spaces import Spaces
from reincarnate.students.policy_network import PolicyNetwork

PROTOCOL = 3  # the newest in which a value may be written apart from those around it


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


def normalises(agent: Agent) -> bool:
    """Whether it has statistics."""
    return any(norm is not None for norm in _norms(agent))


def statistics(agent: Agent, spaces: Spaces) -> bytes | None:
    """A pickle of `VecNormalize` with the agent's statistics, for `VecNormalize.load`; None where it has none.

    Only plain values, arrays and spaces lie in it, and the names of `VecNormalize` and `RunningMeanStd`.
    """
    if not normalises(agent):
        return None
    obs, reward = _norms(agent)
    module = "stable_baselines3.common.running_mean_std"
    plain_values: dict[str, Any] = {
        **{"num_envs": 1, "observation_space": spaces.observations, "action_space": spaces.actions},
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


def statistics_of(agent: Agent) -> str:
    """What an agent's statistics are of, in words."""
    told = zip(_norms(agent), ("its observations", "its rewards"), strict=True)
    return f"the statistics of {' and of '.join(words for norm, words in told if norm is not None)}"


def _norms(agent: Agent) -> tuple[ObservationNorm | None, Any]:
    """What normalises an agent's observations, and its rewards."""
    network: Any = agent.network()
    obs = network.obs_norm if isinstance(network, PolicyNetwork) else getattr(network, "norm", None)
    return obs if isinstance(obs, ObservationNorm) else None, getattr(network, "reward_norm", None)


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
