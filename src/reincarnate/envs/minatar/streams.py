"""NumPy's legacy random streams, one a copy, drawn for all copies at once and word for word the same."""

import numpy as np

BLOCK = 1024  # words drawn ahead for each copy
ROOM = 256  # words one step and one restart may use up; the games need some 60
LOOKED_THROUGH = 64  # words among which an accepted one must be; a word is refused with probability 3/8 at most
TWO_26, TWO_53 = float(2**26), float(2**53)


class Streams:
    """n streams, each giving exactly what `numpy.random.RandomState(seed)` would give to one environment.

    A RandomState turns words of 32 bits into numbers: two into a double of `rand`, and as many as it takes into an
    integer of `randint`, which masks a word and refuses it where that is too large. Here the words are drawn in
    blocks, and each copy has its own place `at` in its own row of them. A copy whose `at` is put back has not drawn.
    """

    def __init__(self, n: int):
        self._twisters = [np.random.RandomState(0) for _ in range(n)]
        self._words = np.zeros((n, BLOCK), np.uint32)
        self._doubles = np.zeros((n, BLOCK))
        self._rows = np.arange(n) * BLOCK
        self._full = self._rows + BLOCK - ROOM
        self.at = self._rows.copy()

    def seed(self, seeds: np.ndarray) -> None:
        """Begin every stream anew, each from its seed."""
        self._twisters = [np.random.RandomState(int(seed)) for seed in seeds]
        self.at = self._rows + BLOCK
        self.top_up()

    def top_up(self) -> None:
        """Draw words ahead where a step could use up what is left. Call it between steps only."""
        if not np.count_nonzero(self.at > self._full):
            return
        for i, used in enumerate((self.at - self._rows).tolist()):
            row = self._words[i]
            row[: BLOCK - used] = row[used:].copy()
            row[BLOCK - used :] = self._twisters[i].randint(2**32, size=used, dtype=np.uint32)
        self.at = self._rows.copy()
        high, low = self._words[:, :-1] >> 5, self._words[:, 1:] >> 6
        np.divide(high * TWO_26 + low, TWO_53, out=self._doubles[:, :-1])

    def double(self) -> np.ndarray:
        """`rand()` of every copy, float64[n]."""
        drawn = self._doubles.take(self.at)
        self.at += 2
        return drawn

    def double_of(self, rows: np.ndarray) -> np.ndarray:
        """`rand()` of some copies."""
        at = self.at[rows]
        self.at[rows] = at + 2
        return self._doubles.take(at)

    def two_doubles_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`rand()` of some copies, twice."""
        at = self.at[rows]
        self.at[rows] = at + 4
        return self._doubles.take(at), self._doubles.take(at + 2)

    def doubles_of(self, row: int, count: int) -> np.ndarray:
        """`rand(count)` of one copy."""
        start = self.at[row]
        self.at[row] += 2 * count
        return self._doubles.take(np.arange(start, start + 2 * count, 2))

    def even_of(self, rows: np.ndarray, bound: int) -> np.ndarray:
        """`randint(bound)` of some copies, where `bound` is a power of two and no word is ever refused."""
        at = self.at[rows]
        self.at[rows] = at + 1
        return (self._words.take(at) & (bound - 1)).astype(np.intp)

    def below_of(self, rows: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """`randint(bound)` of some copies, each with a bound of its own from 1 to 8. A bound of 1 draws nothing."""
        at, most = self.at[rows], bounds - 1
        looked = self._words.take(at[:, None] + np.arange(LOOKED_THROUGH)) & MASKS.take(most)[:, None]
        first = (looked <= most[:, None]).argmax(1)
        self.at[rows] = at + np.where(most > 0, first + 1, 0)
        return looked[np.arange(len(rows)), first].astype(np.intp)

    def belows_of(self, row: int, bound: int, count: int) -> np.ndarray:
        """`randint(bound, size=count)` of one copy, bound from 2 to 8."""
        start = self.at[row]
        looked = self._words.reshape(-1)[start : start + ROOM // 2] & MASKS[bound - 1]
        accepted = np.flatnonzero(looked < bound)[:count]
        self.at[row] += accepted[-1] + 1
        return looked[accepted].astype(np.intp)


MASKS = np.array([0, 1, 3, 3, 7, 7, 7, 7], np.uint32)  # the least 2^k - 1 that is not below 0, 1, ..., 7
