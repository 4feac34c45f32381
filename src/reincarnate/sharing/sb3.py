"""An agent as a zip that Stable-Baselines3 (or sb3-contrib) loads: PPO, A2C, SAC, TD3, DQN; QR-DQN and TQC.

Written without either. What their loader unpickles are spaces of Gymnasium, classes of PyTorch's by name, and the name
of one of their policies: pickles made here of nothing else (`sb3_pickles`).
"""

import io
import json
import zipfile
from typing import Any, NamedTuple

import torch
from torch import nn

from reincarnate.agents.agent import Agent
from reincarnate.files.safe import sha256
from reincarnate.sharing.sb3_forms import form_of
from reincarnate.sharing.sb3_pickles import class_entry, kwargs_entry, space_entry, statistics
from reincarnate.sharing.sb3_spaces import spaces_of
from reincarnate.teachers.sb3.evidence import WRITTEN_WITH

VERSION = "2.9.2"  # whose form this is


class Zip(NamedTuple):
    """The zip, what it is, the statistics to lie beside it (None: there are none), what whoever loads it must know."""

    content: bytes
    words: str
    beside: bytes | None
    remarks: tuple[str, ...]


def zipped(agent: Agent) -> Zip:
    """An agent as a zip. UserError: one that no algorithm of SB3's can be."""
    form = form_of(agent)
    settings, spaces = agent.student, spaces_of(agent.spec)
    steps = agent.about.get("env_steps")
    data = {
        "policy_class": class_entry(form.module, form.name),
        "policy_kwargs": kwargs_entry(form.kwargs),
        "num_timesteps": steps if isinstance(steps, int) else 0,
        **{"verbose": 0, "_total_timesteps": 0, "_num_timesteps_at_start": 0},
        **{"seed": None, "action_noise": None, "start_time": 0.0, "learning_rate": settings.lr},
        **dict.fromkeys(("tensorboard_log", "_last_obs", "_last_episode_starts", "_last_original_obs")),
        **{"_episode_num": 0, "use_sde": getattr(settings, "sde", False), "sde_sample_freq": -1},
        **{"_current_progress_remaining": 1.0, "_stats_window_size": 100, "_n_updates": 0, "n_envs": 1},
        **dict.fromkeys(("ep_info_buffer", "ep_success_buffer")),
        **{"observation_space": space_entry(spaces.observations), "action_space": space_entry(spaces.actions)},
        **{"gamma": settings.gamma, **form.data},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data", json.dumps(data, indent=4, allow_nan=False))
        archive.writestr("pytorch_variables.pth", _saved(form.variables))
        archive.writestr("policy.pth", _saved(form.policy))
        for name, count in form.optimisers.items():
            archive.writestr(f"{name}.pth", _saved(_optimiser(count, settings, form.rmsprop)))
        archive.writestr("_stable_baselines3_version", VERSION)
        if beside := statistics(agent, spaces):
            archive.writestr(WRITTEN_WITH, sha256(beside))  # SB3 passes it over, and leaves it out as it saves
    words = f"a zip of Stable-Baselines3 {VERSION}'s form, {form.name}"
    return Zip(buffer.getvalue(), words, beside, spaces.remarks)


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _optimiser(count: int, settings: Any, rmsprop: bool) -> dict[str, Any]:
    """The state of a new optimiser of so many parameters."""
    parameters = [nn.Parameter(torch.zeros(())) for _ in range(count)]
    if rmsprop:
        return torch.optim.RMSprop(parameters, settings.lr, 0.99, settings.adam_eps).state_dict()
    return torch.optim.Adam(parameters, settings.lr, eps=settings.adam_eps).state_dict()
