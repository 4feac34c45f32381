"""MinAtar's Space Invaders for n copies at once: the maps of aliens and bullets, one plane a copy."""

from typing import Any, ClassVar

import numpy as np

from reincarnate.envs.minatar.streams import Decoder, Streams

CHANNELS = 6
CANNON, ALIEN, ALIEN_LEFT, ALIEN_RIGHT, FRIENDLY, ENEMY = range(CHANNELS)
FIRE = 3  # after none, left, right
COOL_DOWN, MOVE_INTERVAL, SHOT_INTERVAL = 5, 12, 10
LEAST_INTERVAL = 6  # to which the ramp brings down the aliens' move interval
BOTTOM = 9
WAVE = (slice(0, 4), slice(2, 8))
STEPS = np.array([[x, max(0, x - 1), min(9, x + 1), x] for x in range(10)]).T.reshape(-1)  # [action * 10 + x]
NEAREST = np.array([sorted(range(10), key=lambda x: abs(x - cannon)) for cannon in range(10)])
FIRST = np.zeros((1, 10, 10, CHANNELS), bool)  # what is seen as an episode begins
FIRST[0, BOTTOM, 5, CANNON] = FIRST[0, *WAVE, ALIEN] = FIRST[0, *WAVE, ALIEN_LEFT] = True


class SpaceInvaders:
    """Maps bool[n, 10, 10], the cannon's column; ages at which a copy's cannon is `ready` and its aliens `move`."""

    fields: ClassVar = ("cannon", "ready", "aliens", "friendly", "enemy", "leftwards", "interval", "move")
    decoders: ClassVar[tuple[Decoder, ...]] = ()

    def __init__(self, n: int):
        self.aliens, self.friendly, self.enemy = (np.zeros((n, 10, 10), bool) for _ in range(3))
        self.cannon, self.ready, self.interval, self.move = (np.zeros(n, np.intp) for _ in range(4))
        self.leftwards = np.zeros(n, bool)
        self._all = np.arange(n)

    def begin(self, rows: np.ndarray, streams: Streams) -> np.ndarray:
        self.aliens[rows] = self.friendly[rows] = self.enemy[rows] = False
        self.aliens[rows, *WAVE] = self.leftwards[rows] = True
        self.cannon[rows], self.ready[rows] = 5, 0
        self.interval[rows] = self.move[rows] = MOVE_INTERVAL
        return FIRST

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        fires = ((actions == FIRE) & (age >= self.ready)).nonzero()[0]
        self.ready[fires] = age[fires] + COOL_DOWN
        self.cannon = STEPS.take(actions * 10 + self.cannon)
        self.friendly[:, :BOTTOM] = self.friendly[:, 1:]
        self.friendly[:, BOTTOM] = False
        self.friendly[fires, BOTTOM - 1, self.cannon[fires]] = True
        self.enemy[:, 1:] = self.enemy[:, :BOTTOM]
        self.enemy[:, 0] = False
        terminal = self.enemy[self._all, BOTTOM, self.cannon] | self.aliens[self._all, BOTTOM, self.cannon]
        moving = (self.move == age).nonzero()[0]
        if moving.size:
            terminal[moving] |= self._advance(moving, age)
        shooting = ((age % SHOT_INTERVAL == 0) & (age > 0)).nonzero()[0]
        if shooting.size:
            self._shoot(shooting)
        return self._kill(), terminal

    def observe(self) -> np.ndarray:
        seen = np.zeros((len(self.aliens), 10, 10, CHANNELS), bool)
        left = self.leftwards[:, None, None]
        seen[self._all, BOTTOM, self.cannon, CANNON] = True
        seen[..., ALIEN], seen[..., FRIENDLY], seen[..., ENEMY] = self.aliens, self.friendly, self.enemy
        seen[..., ALIEN_LEFT], seen[..., ALIEN_RIGHT] = self.aliens & left, self.aliens > left
        return seen

    def others(self, idle: np.ndarray) -> Any:
        return None

    def put_back(self, idle: np.ndarray, others: Any) -> None:
        pass

    def _advance(self, rows: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Aliens go sideways, or down and back where one is at the edge. Returns where that ends the episode."""
        aliens, left = self.aliens[rows], self.leftwards[rows]
        self.move[rows] = age[rows] + np.minimum(aliens.sum((1, 2)), self.interval[rows])
        turns = np.where(left, aliens[:, :, 0].any(1), aliens[:, :, 9].any(1))
        terminal = turns & aliens[:, BOTTOM].any(1)
        self.leftwards[rows] = left ^ turns
        sideways = np.where(left[:, None, None], np.roll(aliens, -1, 2), np.roll(aliens, 1, 2))
        self.aliens[rows] = np.where(turns[:, None, None], np.roll(aliens, 1, 1), sideways)
        return terminal | self.aliens[rows, BOTTOM, self.cannon[rows]]

    def _shoot(self, rows: np.ndarray) -> None:
        """The lowest alien of the column nearest to the cannon shoots; of two columns as near, the left one's."""
        each, aliens = np.arange(len(rows)), self.aliens[rows]
        order = NEAREST[self.cannon[rows]]
        occupied: np.ndarray = aliens.any(1)  # pyright: ignore[reportAssignmentType]
        column = order[each, occupied[each[:, None], order].argmax(1)]
        row = BOTTOM - aliens[each, ::-1, column].argmax(1)
        self.enemy[rows, row, column] = True

    def _kill(self) -> np.ndarray:
        """Aliens and the bullets that reached them go. Returns how many, [n]; an empty sky fills again, faster."""
        hit = self.aliens & self.friendly
        if not hit.any():
            return np.zeros(len(hit))
        self.aliens ^= hit
        self.friendly ^= hit
        cleared = np.flatnonzero(~self.aliens.any((1, 2)))
        self.interval[cleared] -= self.interval[cleared] > LEAST_INTERVAL
        self.aliens[cleared, *WAVE] = True
        return hit.sum((1, 2))
