"""Deep primal-dual policy learning (Cho & Wang, 2017): what it can be told. The learner is `primal_dual_student.py`.

min over v, max over π of the Lagrangian of the linear Bellman program, relaxed by a penalty on the squared advantage:
`losses.primal_dual`, docs/students.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from reincarnate.data.layouts import Rollout, Transitions
from reincarnate.data.memory import Storage, rollout_rows
from reincarnate.errors import UserError
from reincarnate.nets.actors import Spread
from reincarnate.nets.dense import Activation, DenseShape
from reincarnate.nets.qnet import natural_torso
from reincarnate.students.actor_policy import ActorPolicy
from reincarnate.students.policy_network import PolicyNetwork, kind_for
from reincarnate.students.policy_settings import FLAT, POLICY_GAIN
from reincarnate.students.primal_dual_student import PrimalDualStudent
from reincarnate.students.refusals import refuse_below, refuse_empty_layers
from reincarnate.types import LOGITS, Pace, TaskSpec

CPU = torch.device("cpu")
EXACT = ("CartPole", "Acrobot", "MountainCar", "MountainCarContinuous", "Pendulum")
"""Tasks in which an action's outcome is known not to be drawn, by the beginning of their names."""


@dataclass(frozen=True)
class PrimalDual:
    """A value and a policy coupled by one function: v descends (1−γ)v + δ + c·δ², π climbs ln π · δ.

    `linear` none leaves residual-gradient TD, and with `through` off as well one-step TD actor-critic. For tasks
    without chance: of one sample δ² is biased elsewhere. The public implementation has 512-512 ReLU networks.
    """

    hidden: tuple[int, ...] = FLAT  # fully connected layers of actor and of critic
    activation: Activation = "tanh"
    log_std: float = 0.0  # ln σ of a newborn's Gaussian, which no observation moves
    gamma: float = 0.99  # γ: what a reward a step later is worth
    lr: float = 3e-4  # the policy's learning rate
    value_lr: float = 1e-3  # the value's
    adam_eps: float = 1e-8  # ε of Adam
    linear: Literal["state", "start", "none"] = "state"  # the program's term: v(s), v of the episode's start, or none
    penalty: float = 1.0  # c: of the squared advantage
    through: bool = True  # the gradient goes through v(s') too
    rollout: int = 1  # steps of each copy between updates
    copies: ClassVar[int] = 1  # of the task it plays at once, unless the run says otherwise
    predicts: ClassVar[str] = LOGITS  # of continuous actions GAUSSIAN: `PolicyNetwork.kind` says which
    explores: ClassVar[str] = "exploration"  # what its exploration is called in metrics: nothing, its actions are draws
    torso: ClassVar[str] = "auto"

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        refuse_below(self, {"rollout": 1, "lr": 0, "value_lr": 0, "penalty": 0})
        if not 0 <= self.gamma <= 1 or self.adam_eps <= 0:
            raise UserError("--student.gamma must lie between 0 and 1, and --student.adam-eps above 0")
        refuse_empty_layers(self, "hidden")
        if self.linear != "none" and not self.through:
            raise UserError(
                "--student.no-through with the linear term is no Lagrangian: its gradient goes through v(s'); "
                "use --student.linear none"
            )
        if self.linear == "none" and self.penalty == 0:
            raise UserError("--student.penalty 0 without the linear term leaves nothing to learn values by")

    def remarks(self, spec: TaskSpec) -> tuple[str, ...]:
        """What a person should know before it is tried on a task."""
        if not self.through or not self.penalty or spec.id.startswith(EXACT):
            return ()
        sticky = next((key for key, value in spec.protocol.items() if "sticky" in key and value), None)
        known = f"{spec.id} is random ({sticky})" if sticky else f"whether {spec.id} is random is not known"
        return (f"primal_dual learns biased values where outcomes are drawn (double sampling): {known}",)

    # ---- what the loop asks --------------------------------------------------------------------------

    @property
    def episodic(self) -> str:
        """What it keeps of its episodes as it acts; empty for nothing."""
        return "what its episodes began with (--student.linear start)" if self.linear == "start" else ""

    def layout(self) -> Rollout:
        """A step of each copy, or a few."""
        return Rollout(self.rollout, self.gamma)

    def layout_of_data(self) -> Transitions:
        """Prior data, from which the value alone learns by itself."""
        return Transitions(1, self.gamma)

    def storage(self, spec: TaskSpec, copies: int) -> Storage:
        """Room for a rollout."""
        return rollout_rows(spec, self.rollout, copies)

    def pace(self, copies: int) -> Pace:
        """One update of both for every rollout."""
        return Pace(self.rollout * copies, 1, self.rollout * copies)

    def exploration(self, env_steps: int, newborn: bool, wait: int) -> float:
        """Its actions are draws, always."""
        return 0.0

    # ---- what it becomes -----------------------------------------------------------------------------

    def newborn(self, spec: TaskSpec, seed: int, device: torch.device = CPU) -> PrimalDualStudent:
        """A fresh student for a task; its weights are a function of `seed`."""
        return PrimalDualStudent(self, self._network(spec, seed), spec, device)

    def network(self, spec: TaskSpec) -> nn.Module:
        """What an agent's weights are loaded into."""
        return self._network(spec, 0)

    def policy(self, spec: TaskSpec, network: nn.Module) -> ActorPolicy:
        """A network with an agent's weights as a frozen policy."""
        assert isinstance(network, PolicyNetwork)
        return ActorPolicy(network, network.kind)

    def _network(self, spec: TaskSpec, seed: int) -> PolicyNetwork:
        actor = DenseShape(self.hidden, self.activation, init="orthogonal", head_gain=POLICY_GAIN)
        critic = DenseShape(self.hidden, self.activation, init="orthogonal", head_gain=1.0)
        spread = Spread(free=True, initial=self.log_std, bound="none")
        return PolicyNetwork.fresh(spec, actor, critic, kind_for(spec), seed, spread, False, None)

    # ---- what others tell of it ----------------------------------------------------------------------

    def own_loss(self) -> str:
        """Its loss in words."""
        v = {"state": "(1 − γ)v(s) + δ + ", "start": "(1 − γ)v(s_0) + δ + ", "none": ""}[self.linear]
        fixed = "" if self.through else ", v(s_next) fixed"
        return f"({v}{self.penalty:g}·δ² of the value{fixed}; −ln π·δ of the policy)"

    def behaviour(self, newborn: bool) -> str:
        """Its exploration in words."""
        return "actions are drawn from its policy"

    def described(self, spec: TaskSpec) -> str:
        """Its network in words."""
        return f"{natural_torso(spec)} {'-'.join(map(str, self.hidden))}, actor and critic"

    def action_layers(self) -> Mapping[str, int]:
        """The layers whose outputs are a row for each action, and how many numbers a row has."""
        return {"head.logits": 1}
