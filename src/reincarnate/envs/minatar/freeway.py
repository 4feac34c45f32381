"""MinAtar's Freeway for n copies at once: one number per car, whose next state and picture are looked up."""

from typing import Any, ClassVar

import numpy as np

from reincarnate.envs.minatar.streams import Decoder, Streams

CHANNELS = 7  # chicken, car, one trail for each of five speeds
CHICKEN, CAR, FIRST_TRAIL = 0, 1, 2
CARS = 8
SPEEDS = 5  # a car of speed k moves every k-th step or so
COLUMN = 4  # where the chicken crosses
START_ROW = 9
PATIENCE = 3  # steps between two of the chicken's
TIME_LIMIT = 2500
NO_CAR = 10 * (SPEEDS + 1) * 2 * SPEEDS
CODES = NO_CAR + 1


def _car(x: Any, timer: Any, speed: Any, rightwards: Any) -> Any:
    """A car as one number; speed from 1 to 5."""
    return ((rightwards * SPEEDS + speed - 1) * (SPEEDS + 1) + timer) * 10 + x


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per car: the car a step later, whether it runs over a chicken in its row meanwhile, its row's picture."""
    later, hits = np.full(CODES, NO_CAR), np.zeros(CODES, bool)
    pictures = np.zeros((CODES, 10, CHANNELS), bool)
    for x, timer, index, rightwards in np.ndindex(10, SPEEDS + 1, SPEEDS, 2):
        way, speed = 1 if rightwards else -1, index + 1
        car, moves = _car(x, timer, speed, rightwards), timer == 0
        new_x = (x + way) % 10 if moves else x
        later[car] = _car(new_x, speed if moves else timer - 1, speed, rightwards)
        hits[car] = COLUMN in (x, new_x)
        pictures[car, x, CAR] = pictures[car, (x - way) % 10, FIRST_TRAIL + index] = True
    return later, hits, pictures.reshape(CODES, -1)


LATER, HITS, PICTURES = _tables()
STEPS = np.array([0, -1, 1])  # of the actions none, up, down


class Freeway:
    """`row` of the chicken, the age at which it is `ready` to move again, `cars` one per row of the board."""

    fields: ClassVar = ("row", "ready", "cars")
    decoders: ClassVar[tuple[Decoder, ...]] = ()

    def __init__(self, n: int):
        self.row, self.ready = np.zeros(n, np.intp), np.zeros(n, np.intp)
        self.cars = np.full((n, 10), NO_CAR)
        self._base = np.arange(n) * 10
        self._limit = np.full(n, TIME_LIMIT)

    def begin(self, rows: np.ndarray, streams: Streams) -> np.ndarray:
        self.row[rows], self.ready[rows] = START_ROW, PATIENCE
        self.cars[rows, 1 : CARS + 1] = 0
        self._draw_cars(rows, streams)
        return self._picture(rows)

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        moves = ((actions > 0) & (age >= self.ready)).nonzero()[0]
        self.row[moves] = np.minimum(self.row[moves] + STEPS.take(actions[moves]), START_ROW)
        self.ready[moves] = age[moves] + PATIENCE
        won = self.row == 0
        across = won.nonzero()[0]
        if across.size:
            self._draw_cars(across, streams)
            self.row[across] = START_ROW
        self.row[HITS.take(self.cars.take(self._base + self.row))] = START_ROW
        self.cars = LATER.take(self.cars)
        return won, age == self._limit

    def observe(self) -> np.ndarray:
        return self._picture(slice(None))

    def _picture(self, rows: Any) -> np.ndarray:
        row = self.row[rows]
        seen = PICTURES.take(self.cars[rows], axis=0)
        area = 100 * CHANNELS
        seen.reshape(-1)[np.arange(0, area * len(row), area) + (row * 10 + COLUMN) * CHANNELS + CHICKEN] = True
        return seen.reshape(-1, 10, 10, CHANNELS)

    def others(self, idle: np.ndarray) -> Any:
        return None

    def put_back(self, idle: np.ndarray, others: Any) -> None:
        pass

    def _draw_cars(self, rows: np.ndarray, streams: Streams) -> None:
        """New speeds and directions; each car stays where it is."""
        for row in rows.tolist():
            speed = streams.belows_of(row, SPEEDS, CARS) + 1
            rightwards = streams.doubles_of(row, CARS) >= 0.5  # exactly 0.5 gives minatar a car of speed 0: one in 2^53
            self.cars[row, 1 : CARS + 1] = _car(self.cars[row, 1 : CARS + 1] % 10, speed, speed, rightwards)
