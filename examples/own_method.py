"""A method of your own: the teacher's word in the first part of the run, then none.

This is examples/own_method.py: in that folder, or with it on PYTHONPATH,

    reincarnate train half-taught --import own_method --env CartPole-v1 --teacher sb3:FILE.zip --share 0.3

Its fields are flags, keys of YAML and the run's record; it may stand in
studies beside ours (`run: {imports: [own_method]}`).
"""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate import register_method
from reincarnate.losses.terms import Distil
from reincarnate.methods.schedules import Constant
from reincarnate.types import Method, Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class HalfTaught(Method):
    """Own loss + weight · KL to the teacher for `share` of the env steps; after that the own loss alone."""

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    share: float = 0.5  # of the env steps, with the teacher
    weight: float = 1.0  # of the teacher's term against the own loss
    temperature: float = 1.0  # of both policies, softmax(Q / temperature)

    def phases(self, env_steps: int) -> list[Phase]:
        """Two online phases; in the second one exploration goes on at its end value."""
        taught = max(1, min(env_steps - 1, round(self.share * env_steps)))
        term = WeightedTerm(Distil(self.temperature, self.temperature), Constant(self.weight))
        return [
            Phase("taught", env_steps=taught, objective=Objective(terms=(term,))),
            Phase("alone", env_steps=env_steps - taught, newborn=False, warm=True),
        ]


register_method("half-taught", HalfTaught)
