"""MinAtar's Seaquest for n copies at once: all that swims in any copy is one row of a common pool."""

from typing import ClassVar, NamedTuple

import numpy as np

from reincarnate.envs.minatar.streams import Streams

CHANNELS = 10
FRONT, BACK, FRIENDLY, TRAIL, ENEMY, FISH_CHANNEL, SUB_CHANNEL, OXYGEN, DIVERS, DIVER_CHANNEL = range(CHANNELS)
DIVER, FISH, SUB, BULLET = range(4)  # kinds in the pool: a swimmer is (kind * 2 + rightwards) * 100 + cell
KIND_CHANNELS = (DIVER_CHANNEL, FISH_CHANNEL, SUB_CHANNEL, ENEMY)
GONE, NOWHERE = 800, -1
SPENT = 200  # a friendly bullet, else cell * 2 + rightwards, as the player is
FIRE = 5
MAX_OXYGEN, MAX_DIVERS = 200, 6
COOL_DOWN, SHOT_INTERVAL, DIVER_MOVES, DIVER_SPAWN = 5, 10, 5, 30
SPAWN_SPEED, MOVE_INTERVAL, LEAST_INTERVAL = 20, 5, 2
NEVER = -1


class _Tables(NamedTuple):
    """What is looked up of a swimmer (or GONE)."""

    moved: np.ndarray  # [801 * moving + swimmer]: the swimmer afterwards
    cell: np.ndarray  # NOWHERE if gone
    target: np.ndarray  # the cell of what a friendly bullet can hit, else NOWHERE
    picture: np.ndarray  # where it shows in the picture
    trail: np.ndarray  # where its trail shows; where it shows itself, if that is all


def _tables() -> _Tables:
    stays, moved = np.arange(GONE + 1), np.full(GONE + 1, GONE)
    cell, target = np.full(GONE + 1, NOWHERE), np.full(GONE + 1, NOWHERE)
    picture, trail = np.zeros(GONE + 1, np.intp), np.zeros(GONE + 1, np.intp)
    for kind, rightwards, y, x in np.ndindex(4, 2, 10, 10):
        swimmer, way = (kind * 2 + rightwards) * 100 + y * 10 + x, 1 if rightwards else -1
        moved[swimmer] = swimmer + way if 0 <= x + way <= 9 else GONE
        cell[swimmer] = y * 10 + x
        target[swimmer] = y * 10 + x if kind in (FISH, SUB) else NOWHERE
        picture[swimmer] = trail[swimmer] = (y * 10 + x) * CHANNELS + KIND_CHANNELS[kind]
        if kind != BULLET and 0 <= x - way <= 9:
            trail[swimmer] = (y * 10 + x - way) * CHANNELS + TRAIL
    return _Tables(np.concatenate([stays, moved]), cell, target, picture, trail)


def _player_tables() -> tuple[np.ndarray, np.ndarray]:
    """`[action * 200 + player]`: the player after none, left, up, right, down, fire; `[bullet]`: one cell on."""
    steps, flies = np.zeros((6, 200), np.intp), np.full(SPENT + 1, SPENT)
    for y, x, right in np.ndindex(10, 10, 2):
        was, way = (y * 10 + x) * 2 + right, 1 if right else -1
        places = [
            (y, x, right),
            (y, max(0, x - 1), 0),
            (max(0, y - 1), x, right),
            (y, min(9, x + 1), 1),
            (min(8, y + 1), x, right),
            (y, x, right),
        ]
        steps[:, was] = [(row * 10 + column) * 2 + turned for row, column, turned in places]
        if 0 <= x + way <= 9:
            flies[was] = was + 2 * way
    return steps.reshape(-1), flies


def _gauges() -> np.ndarray:
    """[level * 7 + divers]: the last row's picture, with oxygen in tenths."""
    gauges = np.zeros((11, 7, 10, CHANNELS), bool)
    for level, divers in np.ndindex(11, 7):
        gauges[level, divers, :level, OXYGEN] = True
        gauges[level, divers, 9 - divers : 9, DIVERS] = True
    return gauges.reshape(77, -1)


T = _tables()
STEPS, FLIES = _player_tables()
GAUGES = _gauges()
LEVELS = np.arange(MAX_OXYGEN + 1) * 10 // MAX_OXYGEN * (MAX_DIVERS + 1)  # [oxygen]: the first of its gauges
_PLAYER = np.arange(200)
PLAYER_FRONT = _PLAYER // 2 * CHANNELS + FRONT
PLAYER_BACK = (_PLAYER // 2 + np.where(_PLAYER % 2, -1, 1)) * CHANNELS + BACK


class Seaquest:
    """The players one entry a copy, and a pool [4, m] of what swims in any copy, in order of birth.

    Its rows: which copy's, the swimmer, the age of its copy at which it moves next, and at which it shoots next.
    `old` and `new` are the player's bullets; there are never three, for one flies off within the cool-down of two.
    """

    fields: ClassVar = (
        *("player", "ready", "old", "new", "oxygen", "divers", "surfaced"),
        *("spawn_at", "spawn_speed", "interval", "ramp"),
    )

    def __init__(self, n: int):
        self.player, self.ready, self.old, self.new = (np.zeros(n, np.intp) for _ in range(4))
        self.oxygen, self.divers, self.ramp = (np.zeros(n, np.intp) for _ in range(3))
        self.spawn_at, self.spawn_speed, self.interval = (np.zeros(n, np.intp) for _ in range(3))
        self.surfaced = np.zeros(n, bool)
        self.pool = np.zeros((4, 0), np.intp)
        self._base = np.arange(n) * 100 * CHANNELS

    def begin(self, rows: np.ndarray, streams: Streams) -> None:
        new = np.zeros(len(self.player), bool)
        new[rows] = True
        self.pool = self.pool[:, ~new.take(self.pool[0])]
        self.player[rows], self.surfaced[rows] = 5 * 2, True
        self.old[rows] = self.new[rows] = SPENT
        self.oxygen[rows], self.interval[rows] = MAX_OXYGEN, MOVE_INTERVAL
        self.spawn_at[rows] = self.spawn_speed[rows] = SPAWN_SPEED
        self.divers[rows] = self.ready[rows] = self.ramp[rows] = 0

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        self._spawn(age, streams)
        self._fire(actions, age)
        self.player = STEPS.take(actions * 200 + self.player)
        self.old, self.new = FLIES.take(self.old), FLIES.take(self.new)
        reward, terminal = np.zeros(len(age), np.intp), np.zeros(len(age), bool)
        if self.pool.shape[1]:
            self._swim(age, reward, terminal)
        terminal |= self.oxygen <= 0
        below = self.player >= 20
        self.oxygen -= below
        self.surfaced &= ~below
        rising = (~(below | self.surfaced)).nonzero()[0]
        if rising.size:
            self._surface(rising, reward, terminal)
        return reward, terminal

    def observe(self, rows: np.ndarray) -> np.ndarray:
        seen = np.zeros((len(rows), 10, 10, CHANNELS), bool)
        flat, base, player = seen.reshape(-1), self._base[: len(rows)], self.player[rows]
        flat[base + PLAYER_FRONT.take(player)] = True
        flat[base + PLAYER_BACK.take(player)] = True
        gauges = LEVELS.take(self.oxygen[rows], mode="clip") + np.maximum(self.divers[rows], 0)
        seen.reshape(len(rows), -1)[:, 90 * CHANNELS :] = GAUGES.take(gauges, axis=0)
        for bullets in (self.old[rows], self.new[rows]):
            flying = (bullets < SPENT).nonzero()[0]
            if flying.size:
                flat[base[flying] + (bullets[flying] >> 1) * CHANNELS + FRIENDLY] = True
        pool = self.pool if len(rows) == len(self.player) else self._pool_of(rows)
        if pool.shape[1]:
            base, swimmer = pool[0] * (100 * CHANNELS), pool[1]
            flat[base + T.picture.take(swimmer)] = True
            flat[base + T.trail.take(swimmer)] = True
        return seen

    def others(self, idle: np.ndarray) -> np.ndarray:
        return self.pool[:, idle.take(self.pool[0])]

    def put_back(self, idle: np.ndarray, others: np.ndarray) -> None:
        self.pool = np.concatenate([self.pool[:, ~idle.take(self.pool[0])], others], axis=1)

    def _pool_of(self, rows: np.ndarray) -> np.ndarray:
        """What swims in some copies, renumbered."""
        number = np.full(len(self.player), NOWHERE)
        number[rows] = np.arange(len(rows))
        pool = self.pool[:, number.take(self.pool[0]) >= 0]
        pool[0] = number.take(pool[0])
        return pool

    # ---- the parts of a step, in their order

    def _spawn(self, age: np.ndarray, streams: Streams) -> None:
        rows = (self.spawn_at == age).nonzero()[0]
        if rows.size:
            self._spawn_enemies(rows, age, streams)
            self.spawn_at[rows] = age[rows] + self.spawn_speed[rows]
        rows = ((age % DIVER_SPAWN == 0) & (age > 0)).nonzero()[0]
        if rows.size:
            rightwards = streams.double_of(rows) < 1 / 2
            cell = (streams.even_of(rows, 8) + 1) * 10 + np.where(rightwards, 0, 9)
            self._add(rows, (DIVER * 2 + rightwards) * 100 + cell, age[rows] + DIVER_MOVES, np.full(len(rows), NEVER))

    def _spawn_enemies(self, rows: np.ndarray, age: np.ndarray, streams: Streams) -> None:
        """A fish or a submarine in each copy, but none in a row where another swims the other way."""
        side, kind = streams.two_doubles_of(rows)
        rightwards, is_sub = side < 1 / 2, kind < 1 / 3
        y = streams.even_of(rows, 8) + 1
        who, swimmer = self.pool[:2]
        row = T.target.take(swimmer) // 10  # of fish and submarines; below 0 for all else
        same = (who == rows[:, None]) & (row == y[:, None]) & ((swimmer // 100 & 1) != rightwards[:, None])
        free = ~same.any(1)
        rows, rightwards, is_sub, y = rows[free], rightwards[free], is_sub[free], y[free]
        swimmer = (np.where(is_sub, SUB, FISH) * 2 + rightwards) * 100 + y * 10 + np.where(rightwards, 0, 9)
        shot = np.where(is_sub, age[rows] + SHOT_INTERVAL, NEVER)
        self._add(rows, swimmer, age[rows] + self.interval[rows], shot)

    def _add(self, rows: np.ndarray, swimmer: np.ndarray, due: np.ndarray, shot: np.ndarray) -> None:
        self.pool = np.concatenate([self.pool, [rows, swimmer, due, shot]], axis=1)

    def _fire(self, actions: np.ndarray, age: np.ndarray) -> None:
        rows = ((actions == FIRE) & (age >= self.ready)).nonzero()[0]
        self.old[rows] = np.minimum(self.old[rows], self.new[rows])  # the one in flight, if any
        self.new[rows], self.ready[rows] = self.player[rows], age[rows] + COOL_DOWN

    def _swim(self, age: np.ndarray, reward: np.ndarray, terminal: np.ndarray) -> None:
        """All in the pool: hit by bullets as they are, moved, met by the player, hit again, shooting."""
        hit = self._aimed_at(self.pool[0], self.pool[1])
        if np.count_nonzero(hit):
            killed = self._kill(hit, reward, first_bullets=True)
            self.pool = self.pool[:, ~killed]
        who, before, due, shot = self.pool
        now = age.take(who)
        moving = due == now
        swimmer = T.moved.take(before + moving * (GONE + 1))
        player = (self.player >> 1).take(who)
        met = (T.cell.take(before) == player) | (T.cell.take(swimmer) == player)
        moves = moving.nonzero()[0]
        due[moves] += self._pauses(who[moves], before[moves])
        gone = swimmer == GONE
        if np.count_nonzero(met):
            self._meet(met, gone, terminal)
        self.pool[1] = swimmer
        hit = self._aimed_at(who, swimmer)
        if np.count_nonzero(hit):
            hit &= T.cell.take(swimmer) != player
            gone |= self._kill(hit, reward, first_bullets=False)
        shooting = (shot == now).nonzero()[0]
        new = self._shoot(shooting, now, terminal) if shooting.size else None
        if np.count_nonzero(gone):
            self.pool = self.pool[:, ~gone]
        if new is not None:
            self.pool = np.concatenate([self.pool, new], axis=1)

    def _aimed_at(self, who: np.ndarray, swimmer: np.ndarray) -> np.ndarray:
        target = T.target.take(swimmer)
        return ((self.old >> 1).take(who) == target) | ((self.new >> 1).take(who) == target)

    def _kill(self, hit: np.ndarray, reward: np.ndarray, first_bullets: bool) -> np.ndarray:
        """Of the fish and submarines where bullets are, which ones go: one for each bullet, one bullet for each.

        As the bullets move they choose, the newest first: the oldest fish of the cell, else its oldest submarine. As
        the fish and submarines move they are struck, submarines first, the youngest first, by the older bullet.
        """
        killed = np.zeros(len(hit), bool)
        kinds = self.pool[1] // 200
        which = sorted(hit.nonzero()[0].tolist(), key=lambda i: (kinds[i], i))
        bullets = (self.new, self.old) if first_bullets else (self.old, self.new)
        pairs = (
            [(b, i) for b in bullets for i in which]
            if first_bullets
            else [(b, i) for i in which[::-1] for b in bullets]
        )
        for bullet, i in pairs:
            copy, swimmer = self.pool[:2, i].tolist()
            if not killed[i] and bullet[copy] >> 1 == T.cell[swimmer]:
                killed[i], bullet[copy] = True, SPENT
                reward[copy] += 1
        return killed

    def _pauses(self, who: np.ndarray, swimmer: np.ndarray) -> np.ndarray:
        """Steps from one move of a swimmer to its next."""
        kind = swimmer // 200
        fixed = np.where(kind == DIVER, DIVER_MOVES + 1, 1)
        return np.where((kind == FISH) | (kind == SUB), self.interval.take(who) + 1, fixed)

    def _meet(self, met: np.ndarray, gone: np.ndarray, terminal: np.ndarray) -> None:
        """The player meets swimmers: divers come on board while there is room, the youngest first; all others kill."""
        diver = self.pool[1] < 200
        terminal[self.pool[0, met & ~diver]] = True
        for i in (met & diver).nonzero()[0].tolist()[::-1]:
            copy = self.pool[0, i]
            if self.divers[copy] < MAX_DIVERS:
                self.divers[copy] += 1
                gone[i] = True

    def _shoot(self, shooting: np.ndarray, now: np.ndarray, terminal: np.ndarray) -> np.ndarray:
        """Submarines shoot, those too that have just been hit. Returns their bullets, which have moved already."""
        self.pool[3, shooting] += SHOT_INTERVAL + 1
        new = self.pool[:, shooting]
        new[2], new[3] = now[shooting] + 1, NEVER
        new = new[:, new[1] != GONE]
        new[1] = T.moved.take(new[1] + 200 * (BULLET - SUB) + GONE + 1)
        new = new[:, new[1] != GONE]
        terminal[new[0, T.cell.take(new[1]) == (self.player >> 1).take(new[0])]] = True
        return new

    def _surface(self, rows: np.ndarray, reward: np.ndarray, terminal: np.ndarray) -> None:
        """With nobody on board the game ends; six go ashore for a reward, else one; enemies get faster."""
        terminal[rows] |= self.divers[rows] == 0
        rows = rows[self.divers[rows] != 0]
        full = rows[self.divers[rows] == MAX_DIVERS]
        reward[full] += self.oxygen[full] * 10 // MAX_OXYGEN
        self.divers[full] = 0
        self.divers[rows] -= 1
        self.surfaced[rows], self.oxygen[rows] = True, MAX_OXYGEN
        rows = rows[(self.spawn_speed[rows] > 1) | (self.interval[rows] > LEAST_INTERVAL)]
        self.interval[rows] -= (self.interval[rows] > LEAST_INTERVAL) & (self.ramp[rows] % 2 == 1)
        self.spawn_speed[rows] -= self.spawn_speed[rows] > 1
        self.ramp[rows] += 1
