"""NumPy's legacy random streams, one a copy, drawn for all copies at once and word for word the same."""

from collections.abc import Callable, Sequence

import numpy as np

BLOCK = 2048  # words drawn ahead for each copy
ROOM = 256  # words one step and one restart may use up, with much to spare; the games need some 60
A_STEP = 64  # words a step uses up at most, on average over some steps
AT_A_TIME = 4  # copies whose words are decoded together: little enough for the cache
TWO_26, TWO_53 = float(2**26), float(2**53)

Decoder = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From words, uint32[m], and the doubles that begin at them, float64[m]: what a game would draw there, [m]."""


def later(drawn: np.ndarray, words: int) -> np.ndarray:
    """What is so many words on, for decoders that put several draws together."""
    return np.roll(drawn, -words)


class Streams:
    """n streams, each giving exactly what `numpy.random.RandomState(seed)` would give to one environment.

    A RandomState turns words of 32 bits into numbers: two into a double of `rand`, and as many as it takes into an
    integer of `randint`, which masks a word and refuses it where that is too large. Here the words are drawn in
    blocks, and each copy has its own place `at` in its own row of them. A copy whose `at` is put back has not drawn.

    What a game makes of always the same number of words is decoded for the whole block when it is drawn, by its
    `decoders`; a step only looks it up.
    """

    def __init__(self, n: int, decoders: Sequence[Decoder] = ()):
        self._twisters = [np.random.RandomState(0) for _ in range(n)]
        self._words, self._doubles = np.zeros((n, BLOCK), np.uint32), np.zeros(n * BLOCK)
        self._flat = self._words.reshape(-1)
        self._rows = np.arange(n) * BLOCK
        self._full = self._rows + BLOCK - ROOM
        self._two = np.full(n, 2)
        self._decoders = decoders
        self._decoded = [np.zeros(n * BLOCK, decode(np.zeros(1, np.uint32), np.zeros(1)).dtype) for decode in decoders]
        self._sure = 0  # steps for which the words last, whatever happens
        self.at = self._rows.copy()

    def seed(self, seeds: np.ndarray) -> None:
        """Begin every stream anew, each from its seed."""
        self._twisters = [np.random.RandomState(int(seed)) for seed in seeds]
        self._draw(np.full(len(seeds), BLOCK))

    def top_up(self) -> None:
        """Draw words ahead where a step could use up what is left. Call it once before each step."""
        self._sure -= 1
        if self._sure > 0:
            return
        left = int((self._full - self.at).min())
        if left < ROOM:
            self._draw(self.at - self._rows)
            left = BLOCK - ROOM
        self._sure = left // A_STEP

    def _draw(self, used: np.ndarray) -> None:
        """New words for those that each copy used up, and what they mean."""
        for words, twister, gone in zip(self._words, self._twisters, used.tolist(), strict=True):
            words[: BLOCK - gone] = words[gone:].copy()
            words[BLOCK - gone :] = twister.randint(2**32, size=gone, dtype=np.uint32)
        self.at, self._sure = self._rows.copy(), 0
        for start in range(0, len(self._flat), AT_A_TIME * BLOCK):
            part = slice(start, start + AT_A_TIME * BLOCK)
            words, doubles = self._flat[part], self._doubles[part]
            np.multiply(words[:-1] >> 5, TWO_26, out=doubles[:-1])
            doubles[:-1] += words[1:] >> 6
            doubles /= TWO_53
            for decoded, decode in zip(self._decoded, self._decoders, strict=True):
                decoded[part] = decode(words, doubles)

    def double(self) -> np.ndarray:
        """`rand()` of every copy, float64[n]."""
        drawn = self._doubles[self.at]
        self.at += self._two
        return drawn

    def decoded(self, decoder: int) -> np.ndarray:
        """What one of the decoders makes of a `rand()` of every copy, [n]."""
        drawn = self._decoded[decoder][self.at]
        self.at += self._two
        return drawn

    def decoded_of(self, rows: np.ndarray, decoder: int, words: int) -> np.ndarray:
        """What one of the decoders makes of the next words of some copies."""
        at = self.at[rows]
        self.at[rows] = at + words
        return self._decoded[decoder][at]

    def below_of(self, rows: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """`randint(bound)` of some copies, each with a bound of its own from 1 to 8. A bound of 1 draws nothing."""
        at, most = self.at[rows], bounds - 1
        masks = MASKS[most]
        drawn = self._flat[at] & masks
        self.at[rows] = at + (most > 0)
        for i in (drawn > most).nonzero()[0].tolist():
            drawn[i] = self._another(int(rows[i]), int(masks[i]), int(most[i]))
        return drawn

    def _another(self, row: int, mask: int, most: int) -> int:
        """The next word of one copy that is not refused."""
        while True:
            drawn = self._flat.item(self.at[row]) & mask
            self.at[row] += 1
            if drawn <= most:
                return drawn

    def belows_of(self, row: int, bound: int, count: int) -> np.ndarray:
        """`randint(bound, size=count)` of one copy, bound from 2 to 8."""
        start = self.at[row]
        looked = self._flat[start : start + ROOM // 2] & MASKS[bound - 1]
        accepted = np.flatnonzero(looked < bound)[:count]
        self.at[row] += accepted[-1] + 1
        return looked[accepted].astype(np.intp)

    def doubles_of(self, row: int, count: int) -> np.ndarray:
        """`rand(count)` of one copy."""
        start = self.at[row]
        self.at[row] += 2 * count
        return self._doubles[start : start + 2 * count : 2]


MASKS = np.array([0, 1, 3, 3, 7, 7, 7, 7])  # the least 2^k - 1 that is not below 0, 1, ..., 7
