"""The methods, by name. A new one is a file in this folder and a line here."""

from typing import TYPE_CHECKING, Any, Union

from reincarnate.methods.kickstart import Kickstart
from reincarnate.methods.qdagger import QDagger
from reincarnate.methods.scratch import Scratch

METHODS = {"scratch": Scratch, "kickstart": Kickstart, "qdagger": QDagger}

# What a Run accepts: any registered method (spelled for tools that make flags from types).
AnyMethod = Any if TYPE_CHECKING else Union[tuple(METHODS.values())]  # noqa: UP007

__all__ = ["METHODS", "AnyMethod", "Kickstart", "QDagger", "Scratch"]
