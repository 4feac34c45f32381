"""The methods, by name. A new one is a file in this folder and a line here."""

from typing import TYPE_CHECKING, Any, Union

from reincarnate.methods.dagger import Dagger
from reincarnate.methods.dqfd import DQfD
from reincarnate.methods.finetune import FineTune
from reincarnate.methods.jsrl import JSRL
from reincarnate.methods.kickstart import Kickstart
from reincarnate.methods.ppd import PPD
from reincarnate.methods.pretrain import Pretrain
from reincarnate.methods.qdagger import QDagger
from reincarnate.methods.rehearsal import Rehearsal
from reincarnate.methods.rlpd import RLPD
from reincarnate.methods.scratch import Scratch
from reincarnate.methods.warmcritic import WarmCritic
from reincarnate.methods.wsrl import WSRL

METHODS = {
    "scratch": Scratch,
    "finetune": FineTune,
    "rehearsal": Rehearsal,
    "rlpd": RLPD,
    "pretrain": Pretrain,
    "dqfd": DQfD,
    "jsrl": JSRL,
    "kickstart": Kickstart,
    "ppd": PPD,
    "qdagger": QDagger,
    "dagger": Dagger,
    "wsrl": WSRL,
    "warmcritic": WarmCritic,
}

# What a Run accepts: any registered method (spelled for tools that make flags from types).
AnyMethod = Any if TYPE_CHECKING else Union[tuple(METHODS.values())]  # noqa: UP007

__all__ = [
    "JSRL",
    "METHODS",
    "PPD",
    "RLPD",
    "WSRL",
    "AnyMethod",
    "DQfD",
    "Dagger",
    "FineTune",
    "Kickstart",
    "Pretrain",
    "QDagger",
    "Rehearsal",
    "Scratch",
    "WarmCritic",
]
