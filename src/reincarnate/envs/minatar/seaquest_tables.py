"""What MinAtar's Seaquest looks up: one number per swimmer, with its place, its timers and what it is."""

from typing import Any, NamedTuple

import numpy as np

CHANNELS = 10
FRONT, BACK, FRIENDLY, TRAIL, ENEMY, FISH_CHANNEL, SUB_CHANNEL, OXYGEN, DIVERS, DIVER_CHANNEL = range(CHANNELS)
AREA = 100 * CHANNELS
GAUGES_FROM = 90 * CHANNELS  # in the picture; the last row shows nothing else
DIVER, BULLET, FISH, SUB = range(4)  # kinds of swimmers; from FISH on, the player's bullets hit them
KIND_CHANNELS = np.array([DIVER_CHANNEL, ENEMY, FISH_CHANNEL, SUB_CHANNEL])
SHOT_INTERVAL, MOST_INTERVAL, LEAST_INTERVAL = 10, 5, 2  # steps between two shots, and two moves, less one
MAX_OXYGEN, MAX_DIVERS = 200, 6
WAYS, ROWS = 2, 8  # leftwards and rightwards; the rows 1 to 8
FORMS = SUB + SHOT_INTERVAL + 1  # diver, bullet, fish, and a submarine for each number of steps to its next shot
INTERVALS, TIMERS = MOST_INTERVAL - LEAST_INTERVAL + 1, MOST_INTERVAL + 1
GONE = 0
FASTER = -TIMERS * WAYS * ROWS * 10  # to a swimmer, the same with an interval one less
NOWHERE = GAUGES_FROM  # a place where neither player nor bullets are
SPENT = 200  # a friendly bullet, else cell * 2 + rightwards, as the player is
SURFACED = 200  # to the player, where it has been at the surface since it last came up
LANES = WAYS * ROWS  # of fish and submarines; where one swims, none may spawn the other way


def swimmer(form: Any, interval: Any, timer: Any, rightwards: Any, y: Any, x: Any) -> Any:
    """A swimmer as one number above 0. It moves in `timer` steps, then every `interval` + 1."""
    speed = (form * INTERVALS + interval - LEAST_INTERVAL) * TIMERS + timer
    return 1 + ((speed * WAYS + rightwards) * ROWS + y - 1) * 10 + x


class _Swimmers(NamedTuple):
    """What is looked up of a swimmer (or GONE)."""

    after: np.ndarray  # the swimmer a step later
    born: np.ndarray  # the bullet that a submarine shoots meanwhile, which has moved already; else GONE
    place: np.ndarray  # its cell, as the first of the cell's channels in the picture
    pictures: np.ndarray  # [2, ...]: where it and its trail show; a gauge's place, drawn over later, for nothing
    kind: np.ndarray
    lane: np.ndarray  # of fish and submarines, else LANES


def swimmers() -> _Swimmers:
    """The tables, GONE first."""
    shape = (FORMS, INTERVALS, TIMERS, WAYS, ROWS, 10)
    form, interval, timer, rightwards, y, x = np.indices(shape).reshape(6, -1)
    interval, y = interval + LEAST_INTERVAL, y + 1
    kind, way = np.minimum(form, SUB), np.where(rightwards, 1, -1)
    moves = (timer == 0) | (kind == BULLET)
    new_x = x + way * moves
    timer = np.where(kind == BULLET, 0, np.where(moves, interval, timer - 1))
    new_form = np.where(form == SUB, SUB + SHOT_INTERVAL, np.where(form > SUB, form - 1, form))
    after = swimmer(new_form, interval, timer, rightwards, y, new_x)
    bullet = swimmer(BULLET, LEAST_INTERVAL, 0, rightwards, y, new_x + way)
    cell, tail = (y * 10 + x) * CHANNELS, x - way
    trail = np.where((kind != BULLET) & (tail >= 0) & (tail <= 9), cell - way * CHANNELS + TRAIL, NOWHERE)
    return _Swimmers(
        _gone_first(GONE, np.where((new_x >= 0) & (new_x <= 9), after, GONE)),
        _gone_first(GONE, np.where((form == SUB) & (new_x + way >= 0) & (new_x + way <= 9), bullet, GONE)),
        _gone_first(NOWHERE, cell),
        np.stack([_gone_first(NOWHERE, cell + KIND_CHANNELS[kind]), _gone_first(NOWHERE, trail)]),
        _gone_first(DIVER, kind),
        _gone_first(LANES, np.where(kind >= FISH, rightwards * ROWS + y - 1, LANES)),
    )


def _gone_first(gone: int, values: np.ndarray) -> np.ndarray:
    return np.concatenate([[gone], values])


def spawned() -> tuple[np.ndarray, np.ndarray]:
    """New swimmers: enemies [interval, draw], draw = (is_sub * 2 + rightwards) * 8 + y - 1; divers [draw]."""
    is_sub, rightwards, y = np.indices((2, WAYS, ROWS)).reshape(3, -1)
    x, form = np.where(rightwards, 0, 9), np.where(is_sub, SUB + SHOT_INTERVAL, FISH)
    enemies = [swimmer(form, i, i, rightwards, y + 1, x) for i in range(LEAST_INTERVAL, MOST_INTERVAL + 1)]
    divers = swimmer(DIVER, MOST_INTERVAL, MOST_INTERVAL, rightwards, y + 1, x)[: WAYS * ROWS]
    return np.stack([enemies[0]] * LEAST_INTERVAL + enemies), divers


def players() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[action, player]: the player after none, left, up, right, down, fire; [bullet]: one cell on; [2, player]: seen.

    A player is cell * 2 + rightwards, and SURFACED more while it stays at the surface.
    """
    was = np.arange(2 * SURFACED)
    y, x, right, surfaced = was % SURFACED // 20, was // 2 % 10, was % 2, was // SURFACED
    left_x, right_x, zero = np.maximum(x - 1, 0), np.minimum(x + 1, 9), 0 * x
    stay = (y, x, right)
    moves = [stay, (y, left_x, zero), (np.maximum(y - 1, 0), x, right), (y, right_x, zero + 1)]
    moves += [(np.minimum(y + 1, 8), x, right), stay]
    steps = [(y * 10 + x) * 2 + right + SURFACED * surfaced * (y == 0) for y, x, right in moves]
    way = np.where(right, 1, -1)
    flies = np.where((x + way >= 0) & (x + way <= 9), was + 2 * way, SPENT)[:SPENT]
    front = (y * 10 + x) * CHANNELS
    return np.stack(steps), np.append(flies, SPENT), np.stack([front + FRONT, front - way * CHANNELS + BACK])


def gauges() -> tuple[np.ndarray, np.ndarray]:
    """The last row's pictures, of oxygen in tenths and 0 to 6 divers; [oxygen]: the first for it, with no divers."""
    pictures = np.zeros((11, MAX_DIVERS + 1, 10, CHANNELS), bool)
    for level, divers in np.ndindex(11, MAX_DIVERS + 1):
        pictures[level, divers, :level, OXYGEN] = True
        pictures[level, divers, 9 - divers : 9, DIVERS] = True
    levels = np.append(np.arange(MAX_OXYGEN + 1) * 10 // MAX_OXYGEN, 0)  # the last is that of -1
    return pictures.reshape(-1, 10 * CHANNELS), levels * (MAX_DIVERS + 1)
