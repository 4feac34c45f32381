"""MinAtar's Seaquest for n copies at once: all that swims in any copy is one column of a common pool."""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import numpy as np

from reincarnate.envs.minatar import seaquest_tables as tables
from reincarnate.envs.minatar.seaquest_tables import (
    AREA,
    CHANNELS,
    DIVER,
    FASTER,
    FISH,
    FRIENDLY,
    GAUGES_FROM,
    GONE,
    LEAST_INTERVAL,
    MAX_DIVERS,
    MAX_OXYGEN,
    MOST_INTERVAL,
    ROWS,
    SPENT,
    SURFACED,
)
from reincarnate.envs.minatar.streams import Decoder, Streams, later

FIRE = 5
COOL_DOWN, DIVER_SPAWN = 5, 30
SPAWN_SPEED, MOVE_INTERVAL = 20, MOST_INTERVAL  # as an episode begins
OLD, NEW = 0, 1  # the player's bullets
PLAYER_MARK, BULLET_MARK = 1, 2
ROOM = 64  # columns added to a pool that is full
TIDY = 8  # steps after which those that are gone leave the pool

T = tables.swimmers()
ENEMIES, NEW_DIVERS = tables.spawned()
AGAINST = T.lane[ENEMIES[MOST_INTERVAL]] ^ ROWS  # [draw]: the lane the other way
STEPS, FLIES, PLAYERS = tables.players()
GAUGES, LEVELS = tables.gauges()
START = 5 * 2 + SURFACED
BELOW = (np.arange(2 * SURFACED) % SURFACED >= 20).astype(np.intp)  # [player]
FIRED = np.arange(2 * SURFACED) % SURFACED  # [player]: the bullet
RISING = np.arange(2 * SURFACED) < 20
EMPTY = np.arange(MAX_OXYGEN + 1) == 0  # [oxygen]
BULLET_PLACE = np.append(np.arange(SPENT) // 2 * CHANNELS, GAUGES_FROM + CHANNELS)  # where nobody else is, if spent
FIRES = np.arange(6) == FIRE  # [action]
FIRST = np.zeros((1, AREA), bool)  # what is seen as an episode begins
FIRST[0, PLAYERS[:, START]], FIRST[0, GAUGES_FROM:] = True, GAUGES[LEVELS[MAX_OXYGEN]]
FIRST = FIRST.reshape(1, 10, 10, CHANNELS)


def _enemy(words: np.ndarray, doubles: np.ndarray) -> np.ndarray:
    """(is_sub * 2 + rightwards) * 8 + row, of a double each and a word."""
    kind = (later(doubles, 2) < 1 / 3) * np.uint8(2) + (doubles < 1 / 2)
    return kind * np.uint8(ROWS) + (later(words, 4) & np.uint32(ROWS - 1)).astype(np.uint8)


def _diver(words: np.ndarray, doubles: np.ndarray) -> np.ndarray:
    """rightwards * 8 + row, of a double and a word."""
    return (doubles < 1 / 2) * np.uint8(ROWS) + (later(words, 2) & np.uint32(ROWS - 1)).astype(np.uint8)


class _Swimmer(NamedTuple):
    """One that meets the player or a bullet, as plain numbers."""

    kind: int
    column: int  # of the pool: the order of birth
    copy: int
    mark: int
    here: int  # its place before the step
    there: int  # and after it


class Seaquest:
    """The players one entry a copy, and a pool of what swims in any copy, in order of birth.

    `old` and `new` are the player's bullets; there are never three, for one flies off within the cool-down of two.
    A column of the pool: the first place of its copy's picture among all pictures, and the swimmer (GONE until the
    pool is tidied). A swimmer's number tells where it goes, when, and when it shoots; so a step is the same few
    look-ups for all, and only those where the player or its bullets are get a closer look.
    """

    fields: ClassVar = (
        *("player", "ready", "old", "new", "oxygen", "divers"),
        *("spawn_at", "spawn_speed", "interval", "ramp"),
    )
    decoders: ClassVar[tuple[Decoder, ...]] = (_enemy, _diver)

    def __init__(self, n: int, max_steps: int):
        self.player, self.ready, self.oxygen, self.divers, self.ramp = (np.zeros(n, np.intp) for _ in range(5))
        self.spawn_at, self.spawn_speed, self.interval = (np.zeros(n, np.intp) for _ in range(3))
        self._bullets = np.full((2, n), SPENT)
        self.old, self.new = self._bullets
        self._columns, self._size, self._untidy = np.zeros((2, ROOM), np.intp), 0, 0
        self._base = np.arange(n) * AREA
        self._marks = np.zeros(n * AREA, np.uint8)  # where players and bullets are, during a step
        self._ticks = np.zeros(n * AREA, bool)  # for a few of the pool's, for a moment
        self._divers_spawn = (np.arange(max_steps) % DIVER_SPAWN == 0) & (np.arange(max_steps) > 0)

    @property
    def pool(self) -> np.ndarray:
        """[2, m], a view."""
        return self._columns[:, : self._size]

    def begin(self, rows: np.ndarray, streams: Streams) -> np.ndarray:
        self._leave(rows)
        self.player[rows], self.oxygen[rows] = START, MAX_OXYGEN
        self.old[rows] = self.new[rows] = SPENT
        self.spawn_at[rows] = self.spawn_speed[rows] = SPAWN_SPEED
        self.divers[rows] = self.ready[rows] = self.ramp[rows] = 0
        self.interval[rows] = MOVE_INTERVAL
        return FIRST

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        self._spawn(age, streams)
        self._fire(actions, age)
        self.player, self._bullets[:] = STEPS[actions, self.player], FLIES[self._bullets]
        reward, terminal = np.zeros(len(age), np.float32), EMPTY[self.oxygen]
        if self._size:
            self._swim(reward, terminal)
        self.oxygen -= BELOW[self.player]
        rising = RISING[self.player].nonzero()[0]
        if rising.size:
            self._surface(rising, reward, terminal)
        return reward, terminal

    def observe(self) -> np.ndarray:
        seen = np.zeros((len(self.player), AREA), bool)
        flat = seen.reshape(-1)
        flat[self._base + PLAYERS[:, self.player]] = True
        flat[FRIENDLY:][self._base + BULLET_PLACE[self._bullets]] = True
        base, swimmer = self.pool
        flat[base + T.pictures[:, swimmer]] = True
        divers = np.maximum(self.divers, 0)  # six ashore and one more leave -1, and fewer the next time
        seen[:, GAUGES_FROM:] = GAUGES.take(LEVELS[self.oxygen] + divers, axis=0)
        return seen.reshape(-1, 10, 10, CHANNELS)

    def others(self, idle: np.ndarray) -> np.ndarray:
        self._tidy()
        return self.pool[:, idle[self.pool[0] // AREA]]

    def put_back(self, idle: np.ndarray, others: np.ndarray) -> None:
        self._leave(idle.nonzero()[0])
        self._add(*others)

    # ---- the pool

    def _add(self, base: np.ndarray, swimmers: np.ndarray) -> None:
        size = self._size + len(swimmers)
        if size > self._columns.shape[1]:
            self._columns = np.concatenate([self.pool, np.zeros((2, size - self._size + ROOM), np.intp)], axis=1)
        self._columns[0, self._size : size], self._columns[1, self._size : size] = base, swimmers
        self._size = size

    def _leave(self, rows: np.ndarray) -> None:
        """All that swims in some copies."""
        base, swimmer = self.pool
        first = self._base[rows]
        self._ticks[first] = True
        swimmer[self._ticks[base]] = GONE
        self._ticks[first] = False

    def _tidy(self) -> None:
        kept = self.pool[1].nonzero()[0]
        self._columns[:, : kept.size] = self._columns[:, kept]
        self._size, self._untidy = kept.size, 0

    # ---- the parts of a step, in their order

    def _spawn(self, age: np.ndarray, streams: Streams) -> None:
        self._untidy += 1
        if self._untidy == TIDY:
            self._tidy()
        rows = (self.spawn_at == age).nonzero()[0]
        if rows.size:
            self.spawn_at[rows] += self.spawn_speed[rows]
            self._spawn_enemies(rows, streams.decoded_of(rows, 0, words=5))
        rows = self._divers_spawn[age].nonzero()[0]
        if rows.size:
            self._add(self._base[rows], NEW_DIVERS[streams.decoded_of(rows, 1, words=3)])

    def _spawn_enemies(self, rows: np.ndarray, drawn: np.ndarray) -> None:
        """A fish or a submarine in each copy, but none in a row where another swims the other way."""
        new, first = ENEMIES[self.interval[rows], drawn], self._base[rows]
        base, swimmer = self.pool
        lanes = base + T.lane[swimmer]
        self._ticks[lanes] = True
        free = (~self._ticks[first + AGAINST[drawn]]).nonzero()[0]
        self._ticks[lanes] = False
        self._add(first[free], new[free])

    def _fire(self, actions: np.ndarray, age: np.ndarray) -> None:
        rows = (FIRES[actions] & (age >= self.ready)).nonzero()[0]
        if rows.size:
            self.old[rows] = np.minimum(self.old[rows], self.new[rows])  # the one in flight, if any
            self.new[rows], self.ready[rows] = FIRED[self.player[rows]], age[rows] + COOL_DOWN

    def _swim(self, reward: np.ndarray, terminal: np.ndarray) -> None:
        """All in the pool move; those that meet player or bullets, before or after, are looked at; submarines shoot."""
        base, swimmer = self.pool
        after, marks = T.after[swimmer], self._marks
        players, bullets = self._base + PLAYERS[0, self.player], self._base + BULLET_PLACE[self._bullets]
        marks[bullets] = BULLET_MARK
        marks[players] = PLAYER_MARK
        mark = marks[base + T.place[swimmer]] | marks[base + T.place[after]]
        marked = mark.nonzero()[0]
        if marked.size:
            self._resolve(marked, mark, after, reward, terminal)
        born = T.born[swimmer]
        shooting = born.nonzero()[0]
        swimmer[:] = after
        if shooting.size:
            base, born = base[shooting], born[shooting]
            terminal[base[marks[base + T.place[born]] == PLAYER_MARK] // AREA] = True
            self._add(base, born)
        marks[bullets] = marks[players] = 0

    def _resolve(
        self, marked: np.ndarray, mark: np.ndarray, after: np.ndarray, reward: np.ndarray, terminal: np.ndarray
    ) -> None:
        """What becomes of those that meet somebody. Whoever is killed before it moves is GONE; after that, in `after`.

        As the bullets move they choose, the newest first: the oldest fish of the cell, else its oldest submarine. As
        the fish and submarines move they are struck, submarines first, the youngest first, by the older bullet.
        """
        base, swimmer = self.pool[:, marked]
        columns = T.kind[swimmer], marked, base // AREA, mark[marked]
        here, there = T.place[swimmer], T.place[after[marked]]
        met = [_Swimmer(*each) for each in zip(*(c.tolist() for c in (*columns, here, there)), strict=True)]
        targets = sorted(each for each in met if each.mark & BULLET_MARK and each.kind >= FISH)
        killed = self._struck(((slot, each, each.here) for slot in (NEW, OLD) for each in targets), reward)
        self.pool[1, killed] = after[killed] = GONE
        rest = [each for each in met if each.column not in killed]
        self._meet([each for each in rest if each.mark & PLAYER_MARK], after, terminal)
        targets = sorted((each for each in rest if each.mark & BULLET_MARK and each.kind >= FISH), reverse=True)
        after[self._struck(((slot, each, each.there) for each in targets for slot in (OLD, NEW)), reward)] = GONE

    def _struck(self, pairs: Iterable[tuple[int, _Swimmer, int]], reward: np.ndarray) -> list[int]:
        """Of bullets and swimmers at a place, in their order: the columns that are hit. One bullet hits one."""
        hit: list[int] = []
        for slot, each, place in pairs:
            if each.column not in hit and BULLET_PLACE[self._bullets[slot, each.copy]] == place:
                self._bullets[slot, each.copy] = SPENT
                reward[each.copy] += 1
                hit.append(each.column)
        return hit

    def _meet(self, met: list[_Swimmer], after: np.ndarray, terminal: np.ndarray) -> None:
        """The player meets swimmers: divers come on board while there is room, the youngest first; all others kill."""
        for each in reversed(met):
            if each.kind != DIVER:
                terminal[each.copy] = True
            elif self.divers[each.copy] < MAX_DIVERS:
                self.divers[each.copy] += 1
                after[each.column] = GONE

    def _surface(self, rows: np.ndarray, reward: np.ndarray, terminal: np.ndarray) -> None:
        """With nobody on board the game ends; six go ashore for a reward, else one; enemies get faster."""
        alone = self.divers[rows] == 0
        terminal[rows[alone]] = True
        rows = rows[~alone]
        if not rows.size:
            return
        full = rows[self.divers[rows] == MAX_DIVERS]
        reward[full] += self.oxygen[full] * 10 // MAX_OXYGEN
        self.divers[full] = 0
        self.divers[rows] -= 1
        self.player[rows] += SURFACED
        self.oxygen[rows] = MAX_OXYGEN
        rows = rows[(self.spawn_speed[rows] > 1) | (self.interval[rows] > LEAST_INTERVAL)]
        self._hurry(rows[(self.interval[rows] > LEAST_INTERVAL) & (self.ramp[rows] % 2 == 1)])
        self.spawn_speed[rows] -= self.spawn_speed[rows] > 1
        self.ramp[rows] += 1

    def _hurry(self, rows: np.ndarray) -> None:
        """Fish and submarines move more often, those too that are there."""
        self.interval[rows] -= 1
        base, swimmer = self.pool
        for first in self._base[rows].tolist():
            swimmer[(base == first) & (T.kind[swimmer] >= FISH)] += FASTER
