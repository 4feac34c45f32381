"""MinAtar's Breakout for n copies at once. Ball and paddle are one number, and where they go next is looked up."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from reincarnate.envs.minatar.streams import Decoder, Streams

CHANNELS = 4
PADDLE, BALL, TRAIL, BRICK = range(CHANNELS)
AREA = 100 * CHANNELS
ACTIONS = 3  # none, left, right
BOTTOM = 9
WALL = slice(1, 4)  # the rows of bricks
BRICKS = 30
MOVES = 4 * 10 * 10 * 10 * ACTIONS  # directions, rows, columns, places of the paddle, actions


def _state(direction: Any, y: Any, x: Any, paddle: Any) -> Any:
    """Ball and paddle as one number, to which an action is added for a move.

    Directions: 0 up left, 1 up right, 2 down right, 3 down left.
    """
    return (((direction * 10 + y) * 10 + x) * 10 + paddle) * ACTIONS


def _seen(ball: Any, trail: Any, paddle: Any) -> np.ndarray:
    """Where in the picture they show, given their cells (the paddle's: its column), [3, m]."""
    return np.stack([ball * CHANNELS + BALL, trail * CHANNELS + TRAIL, (90 + paddle) * CHANNELS + PADDLE])


class _Tables(NamedTuple):
    """What is looked up of a move, MOVES further on of one that breaks a brick, and at the end of the two starts."""

    after: np.ndarray  # the state afterwards
    seen: np.ndarray  # [3, ...]: where ball, trail and paddle show
    brick: np.ndarray  # where the brick shows that the ball meets, if there is one
    over: np.ndarray  # whether the ball is lost
    falls: np.ndarray  # whether the ball reaches the last row, so that a wall that is gone is built again


def _tables() -> _Tables:
    """d ^ 1 turns a direction around at a side wall, 3 - d at the top, a brick or the paddle, d ^ 2 both."""
    was, y, x, paddle, action = np.indices((4, 10, 10, 10, ACTIONS)).reshape(5, -1)
    paddle = np.select([action == 1, action == 2], [np.maximum(paddle - 1, 0), np.minimum(paddle + 1, 9)], paddle)
    new_x, new_y = x + np.where((was == 1) | (was == 2), 1, -1), y + np.where(was >= 2, 1, -1)
    d = np.where((new_x < 0) | (new_x > 9), was ^ 1, was)
    new_x = new_x.clip(0, 9)
    broken = (3 - d, y, new_x)
    d, new_y = np.where(new_y < 0, 3 - d, d), new_y.clip(0, BOTTOM)
    falls = (new_y == BOTTOM) & (was >= 2)
    straight, aside = falls & (x == paddle), falls & (x != paddle) & (new_x == paddle)
    flown = (np.select([straight, aside], [3 - d, d ^ 2], d), np.where(straight | aside, y, new_y), new_x)
    d, y_after, x_after = (np.concatenate(pair) for pair in zip(flown, broken, strict=True))
    from_right = np.arange(2)
    d, y_after, x_after = np.append(d, 2 + from_right), np.append(y_after, [3, 3]), np.append(x_after, 9 * from_right)
    cell, paddle = y_after * 10 + x_after, np.append(np.tile(paddle, 2), [4, 4])
    trail = np.append(np.tile(y * 10 + x, 2), cell[-2:])
    return _Tables(
        _state(d, y_after, x_after, paddle),
        _seen(cell, trail, paddle),
        cell * CHANNELS + BRICK,
        y_after == BOTTOM,
        np.append(np.tile(falls, 2), [False, False]),
    )


T = _tables()
START = 2 * MOVES  # the ball comes from the left; one more: from the right
WALLS = np.zeros((10, 10, CHANNELS), bool)
WALLS[WALL, :, BRICK] = True
FIRST = np.stack([WALLS, WALLS])  # what is seen as an episode begins
FIRST.reshape(2, -1)[[0, 1], T.seen[:, START:]] = True


class Breakout:
    """The last `move` of ball and paddle; the bricks inside a picture with nothing else on it."""

    fields: ClassVar = ("move", "struck", "bricks", "left")
    decoders: ClassVar[tuple[Decoder, ...]] = (lambda words, _: (words & 1).astype(np.intp),)  # from which side

    def __init__(self, n: int):
        self.move, self.left = np.zeros(n, np.intp), np.zeros(n, np.intp)
        self.struck = np.zeros(n, bool)  # the ball met a brick on the step before, and breaks none on this one
        self.bricks = np.zeros((n, 10, 10, CHANNELS), bool)
        self._flat = self.bricks.reshape(-1)
        self._base = np.arange(n) * AREA

    def begin(self, rows: np.ndarray, streams: Streams) -> np.ndarray:
        side = streams.decoded_of(rows, 0, words=1)
        self.move[rows], self.struck[rows] = START + side, False
        self._build(rows)
        return FIRST[side]

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        self.move = move = T.after[self.move] + actions
        if np.count_nonzero(self.left) < len(self.left):
            self._build((T.falls[move] & (self.left == 0)).nonzero()[0])
        brick = self._base + T.brick[move]
        met = self._flat[brick]
        breaks = met > self.struck
        self.struck = met
        rows = breaks.nonzero()[0]
        if rows.size:
            self._flat[brick[rows]] = False
            self.left[rows] -= 1
            move[rows] += MOVES
        return breaks, T.over[move]

    def observe(self) -> np.ndarray:
        picture = self.bricks.copy()
        picture.reshape(-1)[self._base + T.seen[:, self.move]] = True
        return picture

    def others(self, idle: np.ndarray) -> Any:
        return None

    def put_back(self, idle: np.ndarray, others: Any) -> None:
        pass

    def _build(self, rows: np.ndarray) -> None:
        self.bricks[rows] = WALLS
        self.left[rows] = BRICKS
