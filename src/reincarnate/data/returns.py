"""What followed each stored step: the discounted return of the rest of its episode, as a column of a table."""

import numpy as np

from reincarnate.data.replay import TAIL, Replay


class ReturnsToGo:
    """Keeps the column `name` of a table up to date: Σ γ^k r_{t+k} to the episode's end; −∞ until that is known.

    An episode that a time limit or a barrier cut ends there with nothing after it: the sum is short of what would have
    followed.
    """

    def __init__(self, rows: Replay, gamma: float, name: str):
        self._rows, self._gamma = rows, gamma
        self._column = rows.column(name, (), np.float32)
        self._known = np.zeros(rows.streams, np.int64)  # rows of each stream whose return is final

    def renew(self) -> None:
        """Take in what was stored since the last time."""
        rows = self._rows
        for s in np.flatnonzero(self._known < rows.added).tolist():
            first, closed, added = int(self._known[s]), int(rows.added[s] - rows.open[s]), int(rows.added[s])
            self._sum(s, max(first, added - rows.rows), closed)
            at = rows.base[s] + np.arange(max(closed, added - rows.rows), added) % rows.rows
            self._column[at] = -np.inf
            self._known[s] = closed

    def _sum(self, stream: int, first: int, closed: int) -> None:
        """The returns of rows [first, closed), which are whole episodes but for the first, whose start may be gone."""
        if closed <= first:
            return
        at = self._rows.base[stream] + np.arange(first, closed) % self._rows.rows
        reward, tail = self._rows.columns["reward"][at], self._rows.columns["flags"][at] & TAIL != 0
        out, after = np.zeros(len(at), np.float32), 0.0
        for i in range(len(at) - 1, -1, -1):
            after = 0.0 if tail[i] else float(reward[i]) + self._gamma * after
            out[i] = after
        self._column[at] = out
