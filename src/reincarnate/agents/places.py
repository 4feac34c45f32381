"""Where agents lie: `store:DIR`, a plain path, or `prior:NAME`, an agent that comes with this package."""

from pathlib import Path

from reincarnate.errors import UserError
from reincarnate.files.regular import refuse_empty

PACKAGE = Path(__file__).resolve().parents[1]
ROOTS = (PACKAGE / "priors", PACKAGE.parents[1] / "priors")  # of an installed package, of a checkout


def folder_of(address: str | Path) -> Path:
    """The folder that an agent's address names. Raises UserError for none, and a shipped agent that is not there."""
    refuse_empty(str(address), "the address of an agent")
    scheme, colon, rest = str(address).partition(":")
    if colon and scheme == "prior":
        return shipped(rest)
    if not colon or scheme != "store":
        return Path(address)
    refuse_empty(rest, "the path after store:")
    return Path(rest)


def shipped(name: str) -> Path:
    """Where a shipped agent lies. Raises UserError for an unknown name, with those that are there."""
    for root in ROOTS:
        if name and (root / name / "agent.json").is_file() and (root / name).resolve().parent == root.resolve():
            return root / name
    known = ", ".join(f"prior:{x}" for x in priors())
    if not known:
        raise UserError(f"the shipped agent {name!r} is missing from this installation; install reincarnate again")
    raise UserError(
        f"no agent {name!r} of ours comes with this package; known: {known}; bundles of others' agents "
        "(`reincarnate priors list`) are for --teacher, --weights and --data, inspect, evaluate and play"
    )


def priors() -> list[str]:
    """The names of the agents that come with this package."""
    return sorted({path.parent.name for root in ROOTS for path in root.glob("*/agent.json")})
