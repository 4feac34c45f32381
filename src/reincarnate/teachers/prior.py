"""Agents that come with this package as teachers: `prior:NAME`, from any folder."""

from reincarnate.agents.agent import open_agent
from reincarnate.agents.places import shipped
from reincarnate.teachers.stored import StoredTeacher


def open_address(name: str, actions: int | None = None) -> StoredTeacher:
    """Open a shipped agent as a teacher. Raises UserError for an unknown name, with those that are there."""
    return StoredTeacher(open_agent(shipped(name)), f"prior:{name}")
