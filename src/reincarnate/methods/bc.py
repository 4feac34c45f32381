"""Behaviour cloning, then reinforcement learning held to the clone by a KL that decays (VPT: Baker et al., 2022)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from reincarnate.losses.logged import Clone
from reincarnate.losses.terms import Distil
from reincarnate.methods.checks import at_least, checked, positive, rest
from reincarnate.methods.offline import offline_then_online
from reincarnate.methods.schedules import Constant, Geometric, Scaled
from reincarnate.types import START, Method, Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class BC(Method):
    """Offline the policy clones the data's actions, and values learn by TD; online own loss + ρ · KL to the clone.

    For students with an actor. The clone is the student as the online phase begins. VPT has ρ = 0.2, times 0.9995 with
    every iteration of PPO, in the place of the entropy bonus; here ρ falls to `final` of it by the end of the budget.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    offline_updates: int = 20_000  # on the data, before the first env step
    loss: Literal["likelihood", "error"] = "likelihood"  # −ln π of the data's action, or the squared error (continuous)
    values: bool = True  # offline, critics learn from the data's rewards by TD, so that they are warm online
    critic_env_steps: int = 0  # online at first, the clone acts and stands still while critics learn what it is worth
    weight: float = 0.2  # ρ: the KL to the clone against the student's own loss, as the online phase begins; 0: none
    final: float = 0.01  # what is left of ρ at its end

    def phases(self, env_steps: int) -> list[Phase]:
        """Cloning, perhaps the critics alone, then reinforcement learning."""
        clone = WeightedTerm(Clone(self.loss), Constant(1.0))
        decay = Geometric(checked("--final", positive("--final", self.final)))
        weight = at_least("--weight", 0.0, self.weight)
        hold = (WeightedTerm(Distil(1.0, 1.0, START), Scaled(weight, decay)),) if weight else ()
        offline = Objective(own=float(self.values), terms=(clone,), policy=0.0)
        left, n = env_steps, at_least("--critic-env-steps", 0, self.critic_env_steps)
        if n:
            left = rest(env_steps, "--critic-env-steps", n)
        cloning, online = offline_then_online(self.offline_updates, offline, left, Objective(terms=hold), 0.0)
        if not n:
            return [cloning, online]
        still = Objective(policy=0.0)
        critic = Phase("critic", env_steps=n, objective=still, newborn=False, refresh=online.refresh)
        return [cloning, critic, replace(online, warm=True)]
