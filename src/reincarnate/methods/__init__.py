"""The methods, by name. A new one is a file in this folder and a line here, or `register_method` from outside."""

from typing import TYPE_CHECKING, Annotated, Any

from reincarnate.plugins import Registry, settings_check

if TYPE_CHECKING:
    from reincarnate.methods.actor_mimic import ActorMimic
    from reincarnate.methods.ald import ALD
    from reincarnate.methods.awac import AWAC
    from reincarnate.methods.bc import BC
    from reincarnate.methods.calql import CalQL
    from reincarnate.methods.dagger import Dagger
    from reincarnate.methods.dqfd import DQfD
    from reincarnate.methods.finetune import FineTune
    from reincarnate.methods.iql import IQL
    from reincarnate.methods.jsrl import JSRL
    from reincarnate.methods.kickstart import Kickstart
    from reincarnate.methods.ppd import PPD
    from reincarnate.methods.pretrain import Pretrain
    from reincarnate.methods.qdagger import QDagger
    from reincarnate.methods.rehearsal import Rehearsal
    from reincarnate.methods.rlpd import RLPD
    from reincarnate.methods.scratch import Scratch
    from reincarnate.methods.td3bc import TD3BC
    from reincarnate.methods.warmcritic import WarmCritic
    from reincarnate.methods.wsrl import WSRL

_CLASSES = {
    "scratch": "Scratch",
    "finetune": "FineTune",
    "rehearsal": "Rehearsal",
    "rlpd": "RLPD",
    "pretrain": "Pretrain",
    "dqfd": "DQfD",
    "jsrl": "JSRL",
    "kickstart": "Kickstart",
    "ppd": "PPD",
    "qdagger": "QDagger",
    "dagger": "Dagger",
    "wsrl": "WSRL",
    "warmcritic": "WarmCritic",
    "actor_mimic": "ActorMimic",
    "ald": "ALD",
    "bc": "BC",
    "td3bc": "TD3BC",
    "awac": "AWAC",
    "iql": "IQL",
    "calql": "CalQL",
}

METHODS = Registry(
    "method",
    {name: f"reincarnate.methods.{name}:{kind}" for name, kind in _CLASSES.items()},
    "reincarnate.methods",
    settings_check("needs", "phases"),
)

AnyMethod = Annotated[Any, METHODS]
"""What a Run accepts: any registered method."""


def register_method(name: str, kind: type) -> None:
    """Add a method of your own: a frozen dataclass (`types.Method`). Raises UserError where that cannot be."""
    METHODS.register(name, kind)


def __getattr__(name: str) -> Any:
    """A method's class, imported when it is asked for: names alone cost nothing."""
    found = next((key for key, kind in _CLASSES.items() if kind == name), None)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return METHODS[found]


__all__ = [
    "ALD",
    "AWAC",
    "BC",
    "IQL",
    "JSRL",
    "METHODS",
    "PPD",
    "RLPD",
    "TD3BC",
    "WSRL",
    "ActorMimic",
    "AnyMethod",
    "CalQL",
    "DQfD",
    "Dagger",
    "FineTune",
    "Kickstart",
    "Pretrain",
    "QDagger",
    "Rehearsal",
    "Scratch",
    "WarmCritic",
    "register_method",
]
