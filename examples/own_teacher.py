"""A kind of teacher of your own: linear policies in JSON files, `linear:FILE.json`, with every command.

This is examples/own_teacher.py: in that folder, or with it on PYTHONPATH,

    reincarnate inspect linear:lean.json --import own_teacher --env CartPole-v1

where the file holds {"weights": one list for each action, "bias": one number for each}. For one network in a Python
file no kind is needed: `py:FILE.py:NAME` opens it (see minatar_ppo.py and atari_gru.py).
"""

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from reincarnate import UserError, register_teacher
from reincarnate.teachers.frozen import FrozenTeacher
from reincarnate.types import LOGITS, TeacherCard


class LinearPolicies:
    """What `register_teacher` wants: a module, or any object, that opens the part of an address behind `linear:`."""

    def open_address(self, rest: str, actions: int | None = None) -> FrozenTeacher:
        try:
            content = Path(rest).read_bytes()
            told = json.loads(content)
            weights, bias = torch.tensor(told["weights"]).float(), torch.tensor(told["bias"]).float()
            network = nn.Linear(weights.shape[1], weights.shape[0])
            network.load_state_dict({"weight": weights, "bias": bias})
        except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
            raise UserError(f"linear:{rest} is no linear policy: {type(error).__name__}: {error}") from error
        card = TeacherCard(
            uri=f"linear:{rest}",
            format="linear policy in JSON",
            algorithm="linear",
            tells=LOGITS,
            network=f"linear {network.in_features}-{network.out_features}",
            parameters=weights.numel() + bias.numel(),
            sha256=hashlib.sha256(content).hexdigest(),
            obs_shape=(network.in_features,),
            obs_dtype="float32",
            actions=network.out_features,
            preprocessing="none",
            safety="JSON: nothing can be executed",
            plays="greedy",
        )
        return FrozenTeacher(card, network)


register_teacher("linear", LinearPolicies())
