"""Agents of our own as teachers: `store:DIR`, where DIR is an agent's folder or a finished run's."""

from pathlib import Path

import torch
from torch import Tensor

from reincarnate.agents.agent import Agent, open_agent
from reincarnate.types import VALUES, TeacherCard


class StoredTeacher:
    """A frozen agent of ours."""

    view = "student"

    def __init__(self, agent: Agent, uri: str):
        self.agent = agent
        self._network, self._critic = agent.network(), agent.student.critic()
        spec, torso = agent.spec, type(self._network.torso).__name__
        self.card = TeacherCard(
            uri=uri,
            format="reincarnate agent",
            algorithm=type(agent.student).__name__,
            tells=VALUES,
            network=f"{torso} {'-'.join(map(str, agent.student.hidden)) or '(its own sizes)'}, {spec.actions} values",
            parameters=sum(p.numel() for p in self._network.parameters()),
            sha256=agent.sha256,
            obs_shape=spec.obs_shape,
            obs_dtype=spec.obs_dtype,
            actions=spec.actions,
            preprocessing="the task's own observation; pixels divided by 255",
            safety="safetensors and JSON only; nothing can be executed",
            env=spec.id,
            trained_env_steps=agent.about.get("env_steps"),
            protocol=spec.protocol,
        )

    def initial_state(self, n: int) -> Tensor | None:
        """None: it has no memory."""
        return None

    @torch.no_grad()
    def logits(self, obs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Action values [B, A] of raw observations."""
        return self._critic.values(self._network(obs, *self._critic.at_rest(len(obs)))), None


def recognises(path: Path) -> bool:
    """An agent's folder or a run's."""
    return any((path / name).exists() for name in ("agent.json", "done"))


def open_address(path: str, actions: int | None = None) -> StoredTeacher:
    """Open an agent as a teacher. Raises UserError where there is none or it is damaged."""
    return StoredTeacher(open_agent(Path(path)), f"store:{path}")
