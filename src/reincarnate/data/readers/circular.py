"""Dopamine's circular replay: which rows of it are steps, and in which order they can be streamed.

Row t holds the frame before an action, the action, the reward and whether the episode terminated; t + 1 is the next.
Each episode is preceded by stack − 1 rows of zeros. Rows before the cursor are the newest, those from it on the oldest.
The range that Dopamine saves as invalid is of the saving agent's n, so that range is never read but follows from the
cursor: nothing that crosses it is kept.
"""

from dataclasses import dataclass

import numpy as np

from reincarnate.data.rows import Outline, outline
from reincarnate.errors import UserError


@dataclass(frozen=True)
class Ring:
    """The columns of one file, as long as its capacity, and how far it was written.

    `new` rows, the last of those written, are wanted; `ends` marks the last row of each episode, also where it was cut.
    """

    actions: np.ndarray
    rewards: np.ndarray
    terminals: np.ndarray  # bool
    ends: np.ndarray  # bool
    cursor: int  # where the next row would be written
    full: bool  # every row was written
    new: int


@dataclass(frozen=True)
class Arranged:
    """A ring's rows as they are streamed: `rows` of the file, of which the first `held` are put at the end.

    `plan`, `actions` and `rewards` are of the rows in that order. `headless` steps were left out, because their
    episode's beginning is gone.
    """

    rows: int
    held: int
    plan: Outline
    actions: np.ndarray
    rewards: np.ndarray
    headless: int


def arrange(ring: Ring, stack: int, begins: bool, most_held: int, what: str) -> Arranged:
    """Find the whole episodes of a ring. UserError: rows after an episode's end are not the padding they must be.

    `begins`: the first row is the first that was ever written, of a beginning's padding.

    The file begins in the middle of an episode whose beginning is at its end: these first rows are held back, or left
    out where there are more than `most_held`.
    """
    turn = ring.cursor if ring.full else 0
    size = len(ring.terminals) if ring.full else ring.cursor
    actions, rewards, terminals, ended = (
        np.roll(column[:size], -turn) for column in (ring.actions, ring.rewards, ring.terminals, ring.ends)
    )  # oldest first
    padding = _padding(ended, stack, begins)
    _check_padding(padding, actions, rewards, ended, what)
    ended[-1] = True  # the episode that was going on when the file was written
    kept, headless = _whole(ended, padding, size - ring.new, stack, begins)
    held = 0
    if turn:
        held, lost = _hold(ended, kept, size - turn, most_held)
        headless += lost
    order = turn - held if turn else 0
    actions, rewards, terminals, ended, kept = (
        np.roll(column, order) for column in (actions, rewards, terminals, ended, kept)
    )
    return Arranged(size, held, outline(terminals & ended, ended, kept, False), actions, rewards, headless)


def _padding(ended: np.ndarray, stack: int, begins: bool) -> np.ndarray:
    """The rows of zeros: after every end, and first of all where the ring shows its very beginning."""
    padding = np.zeros(len(ended), bool)
    for k in range(1, stack):
        padding[k:] |= ended[:-k] if k < len(ended) else False
        padding[k - 1] |= begins and k <= len(ended)
    return padding


def _check_padding(padding: np.ndarray, actions: np.ndarray, rewards: np.ndarray, ended: np.ndarray, what: str) -> None:
    acted = actions.reshape(len(actions), -1).any(1)
    if wrong := int(np.count_nonzero(padding & (acted | (rewards != 0) | ended))):
        rows = f"{wrong} of {int(padding.sum())} rows"
        raise UserError(f"{what}: {rows} that must pad the beginnings of episodes with zeros do not; damaged, or other")


def _whole(ended: np.ndarray, padding: np.ndarray, first: int, stack: int, begins: bool) -> tuple[np.ndarray, int]:
    """Rows from `first` on that are steps of an episode whose beginning is there too, and how many steps are not.

    Without stacks each row is a whole observation, and no beginning is needed.
    """
    kept = ~padding
    kept[:first] = False
    if stack == 1:
        return kept, 0
    begins = begins if first == 0 else bool(ended[max(0, first - stack) : first].any())
    if begins:
        return kept, 0
    end = first + int(np.argmax(ended[first:])) + 1
    lost = int(np.count_nonzero(kept[first:end]))
    kept[first:end] = False
    return kept, lost


def _hold(ended: np.ndarray, kept: np.ndarray, start: int, most: int) -> tuple[int, int]:
    """The file's first row is `start`, oldest first: how many rows from there on finish an episode that began before.

    Where that is more than `most`, the episode is cut there; then the second number says how many steps are lost.
    """
    if ended[start - 1] or not kept[start - 1]:
        return 0, 0
    held = int(np.argmax(ended[start:])) + 1
    if held <= most:
        return held, 0
    ended[start - 1] = True
    kept[start : start + held] = False
    return 0, held
