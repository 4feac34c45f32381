"""Agents of our own as teachers: `store:DIR`, where DIR is an agent's folder or a finished run's."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reincarnate.agents.agent import Agent, open_agent
from reincarnate.types import Prediction, TeacherCard, TimeStep


class StoredTeacher(nn.Module):
    """A frozen agent of ours."""

    frozen = True

    def __init__(self, agent: Agent, uri: str):
        nn.Module.__init__(self)
        self.agent, self._policy = agent, agent.policy()
        self.view = self._policy.view
        spec, network = agent.spec, self._policy
        tells = getattr(self._policy, "kind", agent.student.predicts)  # some students' depends on the task
        self.card = TeacherCard(
            uri=uri,
            format="reincarnate agent",
            algorithm=type(agent.student).__name__,
            tells=tells,
            network=f"{agent.student.described(spec)}, {spec.actions} {tells}",
            parameters=sum(p.numel() for p in network.parameters()),  # pyright: ignore
            sha256=agent.sha256,
            obs_shape=spec.obs_shape,
            obs_dtype=spec.obs_dtype,
            actions=spec.actions,
            preprocessing="the task's own observation; pixels divided by 255",
            safety="safetensors and JSON only; nothing can be executed",
            env=spec.id,
            trained_env_steps=agent.about.get("env_steps"),
            protocol=spec.protocol,
            bounds=spec.bounds,
            alpha=_alpha(self._policy),
        )

    def initial(self, n: int) -> Tensor:
        """The memory of n new episodes."""
        return self._policy.initial(n)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the agent says of raw observations."""
        return self._policy.predict(step, carry)


def _alpha(policy: Any) -> float | None:
    """What a nat of entropy is worth to an agent, where it weighs one."""
    entropy = getattr(getattr(policy, "network", None), "entropy", None)
    return None if entropy is None else math.exp(float(entropy.log_alpha))


def recognises(path: Path) -> bool:
    """An agent's folder or a run's."""
    return any((path / name).exists() for name in ("agent.json", "done"))


def open_address(path: str, actions: int | None = None) -> StoredTeacher:
    """Open an agent as a teacher. Raises UserError where there is none or it is damaged."""
    return StoredTeacher(open_agent(Path(path)), f"store:{path}")
