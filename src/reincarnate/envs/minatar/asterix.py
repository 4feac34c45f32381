"""MinAtar's Asterix for n copies at once: one number per entity, whose next place and picture are looked up."""

import functools
from typing import Any, ClassVar, NamedTuple

import numpy as np

from reincarnate.envs.minatar.streams import Decoder, Streams, later

CHANNELS = 4
PLAYER_CHANNEL, ENEMY_CHANNEL, TRAIL_CHANNEL, GOLD_CHANNEL = range(CHANNELS)
ROWS = 8  # of entities, at most one in each; the player is confined to them too
RAMP_INTERVAL = 100
SPAWN_SPEED, MOVE_INTERVAL = 10, 5  # as an episode begins
NOBODY = 0
SIDES, KINDS = 2, 2


def _entity(x: int, rightwards: int, gold: int) -> int:
    return 1 + (gold * SIDES + rightwards) * 10 + x


ENTITIES = 1 + KINDS * SIDES * 10


class _Tables(NamedTuple):
    """What is looked up of an entity."""

    moved: np.ndarray  # the entity one cell on, or NOBODY
    enemy: np.ndarray  # [moves, entity, cell]: whether it meets a player in that cell of its row, before or after
    gold: np.ndarray  # it moves. An enemy ends the episode, gold is picked up
    pictures: np.ndarray  # [entity]: its row's picture


def _tables() -> _Tables:
    moved, pictures = np.zeros(ENTITIES, np.intp), np.zeros((ENTITIES, 10, CHANNELS), bool)
    meets = np.zeros((KINDS, 2, ENTITIES, 100), bool)
    for x, rightwards, gold in np.ndindex(10, SIDES, KINDS):
        entity, way = _entity(x, rightwards, gold), 1 if rightwards else -1
        meets[gold, :, entity, x::10] = True
        if 0 <= x + way <= 9:
            moved[entity] = _entity(x + way, rightwards, gold)
            meets[gold, 1, entity, x + way :: 10] = True
        pictures[entity, x, GOLD_CHANNEL if gold else ENEMY_CHANNEL] = True
        if 0 <= x - way <= 9:
            pictures[entity, x - way, TRAIL_CHANNEL] = True
    return _Tables(moved, meets[0], meets[1], pictures.reshape(ENTITIES, -1))


def _steps() -> np.ndarray:
    """[action, cell]: the player's next cell. Actions: none, left, up, right, down."""
    y, x = np.divmod(np.arange(100), 10)
    ways = [(y, x), (y, np.maximum(x - 1, 0)), (np.maximum(y - 1, 1), x), (y, np.minimum(x + 1, 9))]
    return np.stack([y * 10 + x for y, x in [*ways, (np.minimum(y + 1, ROWS), x)]])


T = _tables()
STEPS = _steps()
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(bool)
HOW_MANY = _BITS.sum(1)  # rows that are free, by the bits that `np.packbits` makes of them
FREE_ROW = np.array([np.resize(np.append(np.flatnonzero(bits) + 1, np.zeros(ROWS, np.int64)), ROWS) for bits in _BITS])
START = 55  # the player's cell as an episode begins
FIRST = np.zeros((1, 10, 10, CHANNELS), bool)  # and what is seen
FIRST[0, 5, 5, PLAYER_CHANNEL] = True
SPAWNED = np.array([_entity(0 if right else 9, right, gold) for gold in (0, 1) for right in (0, 1)])
ROW = np.arange(100) // 10
FREE = np.arange(ENTITIES) == NOBODY
PLAYER = np.arange(100) * CHANNELS + PLAYER_CHANNEL  # [cell]: where the player shows in the picture


def _spawned(words: np.ndarray, doubles: np.ndarray) -> np.ndarray:
    """From which side and of which kind: an index of SPAWNED."""
    return (doubles < 1 / 2) + 2 * (later(doubles, 2) < 1 / 3).astype(np.uint8)


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
    """`cell` of the player, `entities` one per row of the board (none in the first and the last), their `picture`."""

    fields: ClassVar = ("cell", "entities", "picture")
    decoders: ClassVar[tuple[Decoder, ...]] = (_spawned,)

    def __init__(self, n: int, max_steps: int):
        self.cell, self.entities = np.zeros(n, np.intp), np.zeros((n, 10), np.intp)
        self.picture = np.zeros((n, 10, 10 * CHANNELS), bool)
        self._flat, self._rows = self.entities.reshape(-1), self.picture.reshape(n * 10, -1)
        self._base, self._bases = np.arange(n) * 10, np.arange(n) * 100 * CHANNELS
        spawns, moves = timetable(max_steps)
        self._spawns, self._moves = spawns, moves.astype(np.intp)

    def begin(self, rows: np.ndarray, streams: Streams) -> np.ndarray:
        self.cell[rows], self.entities[rows], self.picture[rows] = START, NOBODY, False
        return FIRST

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        spawning = self._spawns[age].nonzero()[0]
        if spawning.size:
            self._spawn(spawning, streams)
        self.cell = STEPS[actions, self.cell]
        beside, moves = self._base + ROW[self.cell], self._moves[age]
        met = moves, self._flat[beside], self.cell
        gold = T.gold[met]
        picked = gold.nonzero()[0]
        if picked.size:
            self._put(beside[picked], NOBODY)
        moving = moves.nonzero()[0]
        if moving.size:
            self.entities[moving] = entities = T.moved[self.entities[moving]]
            self.picture[moving] = T.pictures.take(entities, axis=0)
        return gold, T.enemy[met]

    def observe(self) -> np.ndarray:
        seen = self.picture.copy()
        seen.reshape(-1)[self._bases + PLAYER[self.cell]] = True
        return seen.reshape(-1, 10, 10, CHANNELS)

    def others(self, idle: np.ndarray) -> Any:
        return None

    def put_back(self, idle: np.ndarray, others: Any) -> None:
        pass

    def _put(self, places: np.ndarray, entities: Any) -> None:
        """Entities (or nobody) in rows of boards, numbered through all copies."""
        self._flat[places], self._rows[places] = entities, T.pictures[entities]

    def _spawn(self, rows: np.ndarray, streams: Streams) -> None:
        """One entity in a free row, from the side and of the kind that chance says; none where all rows are taken."""
        kind = streams.decoded_of(rows, 0, words=4)
        free = np.packbits(FREE[self.entities[rows]][:, 1 : ROWS + 1])
        room = free.nonzero()[0]
        if room.size < free.size:
            rows, kind, free = rows[room], kind[room], free[room]
        which = streams.below_of(rows, HOW_MANY[free])
        self._put(self._base[rows] + FREE_ROW[free, which], SPAWNED[kind])
