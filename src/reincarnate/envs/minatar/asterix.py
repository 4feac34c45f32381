"""MinAtar's Asterix for n copies at once: one number per entity, whose next place and picture are looked up."""

import functools
from typing import Any, ClassVar

import numpy as np

from reincarnate.envs.minatar.streams import Streams

CHANNELS = 4
PLAYER_CHANNEL, ENEMY_CHANNEL, TRAIL_CHANNEL, GOLD_CHANNEL = range(CHANNELS)
ROWS = 8  # of entities, at most one in each; the player is confined to them too
RAMP_INTERVAL = 100
SPAWN_SPEED, MOVE_INTERVAL = 10, 5  # as an episode begins
NOBODY = 0
GOLD, ENEMY = 1, 2  # what the player may meet


def _entity(x: int, rightwards: int, gold: int) -> int:
    return 1 + (gold * 2 + rightwards) * 10 + x


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per entity: the entity one cell on (or NOBODY), what a player in cell y·10 + x meets in it, its row's picture."""
    moved, meets = np.zeros(41, np.intp), np.zeros((41, 100), np.uint8)
    pictures = np.zeros((41, 10, CHANNELS), bool)
    for x, rightwards, gold in np.ndindex(10, 2, 2):
        entity, way = _entity(x, rightwards, gold), 1 if rightwards else -1
        moved[entity] = _entity(x + way, rightwards, gold) if 0 <= x + way <= 9 else NOBODY
        meets[entity, x::10] = GOLD if gold else ENEMY
        pictures[entity, x, GOLD_CHANNEL if gold else ENEMY_CHANNEL] = True
        if 0 <= x - way <= 9:
            pictures[entity, x - way, TRAIL_CHANNEL] = True
    return moved, meets.reshape(-1), pictures.reshape(41, -1)


def _steps() -> np.ndarray:
    """[action * 100 + cell]: the player's next cell. Actions: none, left, up, right, down."""
    y, x = np.divmod(np.arange(100), 10)
    ways = [(y, x), (y, np.maximum(x - 1, 0)), (np.maximum(y - 1, 1), x), (y, np.minimum(x + 1, 9))]
    return np.concatenate([y * 10 + x for y, x in [*ways, (np.minimum(y + 1, ROWS), x)]])


MOVED, MEETS, PICTURES = _tables()
STEPS = _steps()
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(bool)
FREE = _BITS.sum(1)  # how many rows are free, by the bits that `np.packbits` makes of them
FREE_ROW = np.array(
    [np.resize(np.append(np.flatnonzero(bits) + 1, np.zeros(ROWS, np.int64)), ROWS) for bits in _BITS]
).reshape(-1)
SPAWNED = np.array([_entity(0 if right else 9, right, gold) for gold in (0, 1) for right in (0, 1)])
ROW = np.arange(100) // 10


@functools.cache
def timetable(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """At which steps of an episode something spawns, and at which all entities move, bool[steps] each.

    Both timers run whatever the player does, faster with each turn of the ramp.
    """
    spawns, moves = np.zeros(steps, bool), np.zeros(steps, bool)
    spawn_timer = spawn_speed = SPAWN_SPEED
    move_timer = move_speed = MOVE_INTERVAL
    ramp_timer, ramp = RAMP_INTERVAL, 0
    for age in range(steps):
        spawns[age], moves[age] = spawn_timer == 0, move_timer == 0
        spawn_timer = (spawn_timer or spawn_speed) - 1
        move_timer = (move_timer or move_speed) - 1
        if spawn_speed == 1 and move_speed == 1:
            continue
        ramp_timer -= 1
        if ramp_timer < -1:
            move_speed -= move_speed > 1 and ramp % 2
            spawn_speed -= spawn_speed > 1
            ramp, ramp_timer = ramp + 1, RAMP_INTERVAL
    return spawns, moves


class Asterix:
    """`cell` of the player, `entities` one per row of the board (none in the first and the last)."""

    fields: ClassVar = ("cell", "entities")

    def __init__(self, n: int, max_steps: int):
        self.cell, self.entities = np.zeros(n, np.intp), np.zeros((n, 10), np.intp)
        self._flat, self._base = self.entities.reshape(-1), np.arange(n) * 10
        self._spawns, self._moves = timetable(max_steps)

    def begin(self, rows: np.ndarray, streams: Streams) -> None:
        self.cell[rows], self.entities[rows] = 55, NOBODY

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        spawning = self._spawns.take(age).nonzero()[0]
        if spawning.size:
            self._spawn(spawning, streams)
        self.cell = STEPS.take(actions * 100 + self.cell)
        beside = self._base + ROW.take(self.cell)
        met = self._meet(beside)
        moving = self._moves.take(age).nonzero()[0]
        if not moving.size:
            return met == GOLD, met == ENEMY
        self.entities[moving] = MOVED.take(self.entities[moving])
        again = self._meet(beside)  # whoever did not move has nobody left to meet but the enemy that ended the episode
        return (met == GOLD) + (again == GOLD).astype(np.uint8), (met | again) >= ENEMY

    def observe(self, rows: np.ndarray) -> np.ndarray:
        every = len(rows) == len(self.cell)
        entities, cell = (self.entities, self.cell) if every else (self.entities[rows], self.cell[rows])
        seen = PICTURES.take(entities, axis=0)
        seen.reshape(-1)[np.arange(0, 400 * len(rows), 400) + cell * CHANNELS + PLAYER_CHANNEL] = True
        return seen.reshape(-1, 10, 10, CHANNELS)

    def others(self, idle: np.ndarray) -> Any:
        return None

    def put_back(self, idle: np.ndarray, others: Any) -> None:
        pass

    def _meet(self, beside: np.ndarray) -> np.ndarray:
        """What each player meets in its row; gold is picked up."""
        met = MEETS.take(self._flat.take(beside) * 100 + self.cell)
        if np.count_nonzero(met):
            self._flat[beside[met == GOLD]] = NOBODY
        return met

    def _spawn(self, rows: np.ndarray, streams: Streams) -> None:
        """One entity in a free row, from the side and of the kind that chance says; none where all rows are taken."""
        side, kind = streams.two_doubles_of(rows)
        free = np.packbits(self.entities[rows, 1 : ROWS + 1] == NOBODY, axis=1)[:, 0]
        if np.count_nonzero(free) < len(free):
            room = free.nonzero()[0]
            rows, side, kind, free = rows[room], side[room], kind[room], free[room]
        which = streams.below_of(rows, FREE.take(free))
        row = FREE_ROW.take(free * np.intp(ROWS) + which)
        entity = SPAWNED.take((side < 1 / 2) + 2 * (kind < 1 / 3))
        self._flat[rows * 10 + row] = entity
