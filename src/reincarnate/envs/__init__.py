"""Tasks by id, behind one vector face. A new family is one file in this folder and a line in FAMILIES."""

import difflib
import importlib
from collections.abc import Iterable

from reincarnate.errors import UserError
from reincarnate.types import TaskSpec, VectorEnv

# prefix of the id -> module with `make(env_id, n, view)`, `spec(env_id)` and `ids()`; the last one takes all else
FAMILIES = {"ALE/": "atari", "MinAtar/": "minatar", "Balloon/": "balloon", "": "classic"}


def _family(env_id: str):
    name = next(module for prefix, module in FAMILIES.items() if env_id.startswith(prefix))
    return importlib.import_module(f"reincarnate.envs.{name}")


def _known() -> Iterable[str]:
    for module in FAMILIES.values():
        yield from importlib.import_module(f"reincarnate.envs.{module}").ids()


def _check(env_id: str):
    family = _family(env_id)
    plain = env_id.partition("?")[0] if getattr(family, "QUERIES", False) else env_id
    if plain not in family.ids():
        near = difflib.get_close_matches(env_id, list(_known()), n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"unknown environment {env_id!r}{hint}")
    return family


def make(env_id: str, n: int, view: str = "student") -> VectorEnv:
    """`n` copies of a task. `view` is the second pair of eyes some teachers need (Atari: "rgb").

    Raises UserError for an unknown id (with near matches), an unsuitable space, or a view the task does not offer.
    """
    return _check(env_id).make(env_id, n, view)


def spec(env_id: str) -> TaskSpec:
    """What the task looks like, and its protocol, without starting it where that can be told. Raises UserError."""
    return _check(env_id).spec(env_id)


__all__ = ["FAMILIES", "make", "spec"]
