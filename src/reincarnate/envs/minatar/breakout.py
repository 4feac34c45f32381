"""MinAtar's Breakout for n copies at once. Where the ball goes next is looked up."""

from typing import Any, ClassVar

import numpy as np

from reincarnate.envs.minatar.streams import Streams

CHANNELS = 4  # paddle, ball, trail, bricks
BALL, TRAIL, BRICK = 1, 2, 3
BOTTOM = 9
WALL = slice(1, 4)  # the rows of bricks
BRICKS = 30
STARTS = np.array([(3 * 10 + 0) * 4 + 2, (3 * 10 + 9) * 4 + 3])  # from the left downwards to the right; from the right


def _ball(y: int, x: int, direction: int) -> int:
    """A ball as one number. Directions: 0 up left, 1 up right, 2 down right, 3 down left."""
    return (y * 10 + x) * 4 + direction


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """`moved[ball * 10 + paddle]`: the ball after a step without bricks; `bounced[ball]`: after one that met a brick.

    d ^ 1 turns a direction around at a side wall, 3 - d at the top, a brick or the paddle, d ^ 2 both.
    """
    moved, bounced = np.zeros((400, 10), np.intp), np.zeros(400, np.intp)
    for y, x, was in np.ndindex(BOTTOM, 10, 4):
        new_x, new_y, d = x + (1 if was in (1, 2) else -1), y + (1 if was >= 2 else -1), was
        if not 0 <= new_x <= 9:
            new_x, d = x, d ^ 1
        if new_y < 0:
            new_y, d = 0, 3 - d
        bounced[_ball(y, x, was)] = _ball(y, new_x, 3 - d)
        for paddle in range(10):
            after = _ball(new_y, new_x, d)
            if new_y == BOTTOM and x == paddle:
                after = _ball(y, new_x, 3 - d)
            elif new_y == BOTTOM and new_x == paddle:
                after = _ball(y, new_x, d ^ 2)
            moved[_ball(y, x, was), paddle] = after
    return moved.reshape(-1), bounced


MOVED, BOUNCED = _tables()
PADDLE = np.array([[x, max(0, x - 1), min(9, x + 1)] for x in range(10)]).T.reshape(-1)  # [action * 10 + x]
LOST = _ball(BOTTOM, 0, 0)  # the first number of a ball on the bottom row


class Breakout:
    """`ball` and `trail` (where it was) as one number each, the bricks inside a picture with nothing else on it.

    A ball's number is cell · 4 + direction, so `ball | 3` is its cell's brick in the picture.
    """

    fields: ClassVar = ("ball", "trail", "paddle", "struck", "bricks", "left")

    def __init__(self, n: int):
        self.ball, self.trail, self.paddle, self.left = (np.zeros(n, np.intp) for _ in range(4))
        self.struck = np.zeros(n, bool)  # the ball met a brick on the step before, and breaks none on this one
        self.bricks = np.zeros((n, 10, 10, CHANNELS), bool)
        self._flat = self.bricks.reshape(-1)
        self._base = np.arange(n) * 100 * CHANNELS

    def begin(self, rows: np.ndarray, streams: Streams) -> None:
        self.ball[rows] = self.trail[rows] = STARTS.take(streams.even_of(rows, 2))
        self.paddle[rows], self.struck[rows] = 4, False
        self._build(rows)

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        self.paddle = PADDLE.take(actions * 10 + self.paddle)
        self.trail = self.ball
        self.ball = ball = MOVED.take(self.trail * 10 + self.paddle)
        brick = self._base + (ball | BRICK)
        met = self._flat.take(brick)
        breaks = met > self.struck
        self.struck = met
        if np.count_nonzero(self.left) < len(self.left):
            falls = (self.trail >= _ball(BOTTOM - 1, 0, 0)) & (self.trail & 2 > 0)
            self._build((falls & (self.left == 0)).nonzero()[0])
        rows = breaks.nonzero()[0]
        if rows.size:
            self._flat[brick[rows]] = False
            self.left[rows] -= 1
            ball[rows] = BOUNCED.take(self.trail[rows])
        return breaks, ball >= LOST

    def observe(self, rows: np.ndarray) -> np.ndarray:
        every = len(rows) == len(self.ball)
        seen = self.bricks.copy() if every else self.bricks[rows]
        ball, trail, paddle = (x if every else x[rows] for x in (self.ball, self.trail, self.paddle))
        flat, base = seen.reshape(-1), self._base[: len(rows)]
        flat[base + (ball | BRICK) - (BRICK - BALL)] = True
        flat[base + (trail | BRICK) - (BRICK - TRAIL)] = True
        flat[base + (BOTTOM * 10 + paddle) * CHANNELS] = True
        return seen

    def others(self, idle: np.ndarray) -> Any:
        return None

    def put_back(self, idle: np.ndarray, others: Any) -> None:
        pass

    def _build(self, rows: np.ndarray) -> None:
        self.bricks[rows, WALL, :, BRICK] = True
        self.left[rows] = BRICKS
