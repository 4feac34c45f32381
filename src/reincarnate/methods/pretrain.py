"""Offline pre-training with a conservative term (CQL: Kumar et al., 2020), then online by TD alone."""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate.losses.terms import Conservative
from reincarnate.methods.checks import at_least, positive
from reincarnate.methods.schedules import Constant
from reincarnate.types import LAGGING, OPTIMIZER, Method, Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class Pretrain(Method):
    """Offline: own TD loss + c · CQL with a temperature on prior data. Online: own TD loss on own experience.

    At the switch the target network is synchronised, the optimiser new, the replay empty, exploration at its end
    value and the learning rate a tenth. Defaults are those of Agarwal et al. (2022) but for the number of updates.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    offline_updates: int = 20_000  # on prior data, before the first env step
    weight: float = 1.0  # c: the conservative term against the student's own loss
    temperature: float = 0.1  # τ of the conservative term, which works on Q / τ
    lr_scale: float = 0.1  # what remains of the learning rate online

    def phases(self, env_steps: int) -> list[Phase]:
        """An offline phase, then an online one."""
        term = WeightedTerm(
            Conservative(positive("--temperature", self.temperature)), Constant(at_least("--weight", 0.0, self.weight))
        )
        return [
            Phase(
                "offline",
                updates=at_least("--offline-updates", 1, self.offline_updates),
                objective=Objective(terms=(term,)),
            ),
            Phase(
                "online",
                env_steps=env_steps,
                objective=Objective(lr_scale=Constant(at_least("--lr-scale", 0.0, self.lr_scale))),
                newborn=False,
                refresh=frozenset({LAGGING, OPTIMIZER}),
            ),
        ]
