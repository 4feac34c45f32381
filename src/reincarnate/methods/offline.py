"""The two phases that methods from logged data share: offline on the data, then online on a mixture of both."""

from reincarnate.methods.checks import at_least, checked
from reincarnate.types import LAGGING, Objective, Phase


def offline_then_online(
    updates: int, offline: Objective, env_steps: int, online: Objective, share: float
) -> list[Phase]:
    """Offline for so many updates; online each example is the data's with probability `share`.

    At the switch the lagging networks are synchronised, the optimisers kept, and nothing is played at random.
    """
    return [
        Phase("offline", updates=at_least("--offline-updates", 1, updates), objective=offline),
        Phase(
            "online",
            env_steps=env_steps,
            objective=online,
            newborn=False,
            refresh=frozenset({LAGGING}),
            prior_share=checked("--share", share),
        ),
    ]
