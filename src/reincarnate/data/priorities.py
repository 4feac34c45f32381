"""Prioritised sampling (Schaul et al., 2016) over the rows of a table, in a wide, shallow sum tree."""

from typing import Any

import numpy as np

from reincarnate.native import Kernels, Tree

FAN = 32  # children of a node: for a batch of 32 as fast as 64, for one of 512 faster, up to 4M rows

NOTHING_YET = "nothing to sample yet"
EPSILON = 1e-10  # added to a loss, so that a row learnt perfectly can still be drawn

TINY = float(np.finfo(np.float64).tiny)


class Priorities:
    """A sampling weight for each of `rows` rows; a row is drawn with probability P = weight / total.

    A row's weight is (loss + 1e-10)^alpha, and its importance weight (N P)^-beta over the batch's largest. The
    agent of Agarwal et al. (2022), Dopamine's Rainbow, is the case alpha = beta = 0.5: weight sqrt(loss + 1e-10),
    importance 1 / sqrt(P). `beta` may be changed between batches, as where it is annealed.

    Three levels, each holding the sums of `FAN` neighbours of the one below: leaves [blocks, FAN],
    middle [groups, FAN] and top [groups]. An operation on a whole batch is thus a few calls of numpy, instead of
    the twenty levels of a binary tree. Sums are always recomputed from their children, so they never drift.
    The leaves are float64: next to a row's frame, four bytes are nothing, and sums need no conversion.
    """

    def __init__(self, rows: int, alpha: float, beta: float):
        blocks = -(-rows // FAN)
        groups = -(-blocks // FAN)
        self.rows, self.alpha, self.beta = rows, alpha, beta
        self.max_weight = 1.0  # the largest ever set, and at least 1
        self._leaves, self._middle, self._top = np.zeros((blocks, FAN)), np.zeros((groups, FAN)), np.zeros(groups)
        self._weights = self._leaves.reshape(-1)[:rows]  # views, indexed by row and by block
        self._blocks = self._middle.reshape(-1)[:blocks]
        self._kernels: Kernels | None = None
        self._tree = Tree()

    def quicken(self, kernels: Kernels) -> None:
        """Draw and write by compiled kernels from now on; sums are added in another order."""
        levels = [level.ctypes.data for level in (self._leaves, self._middle, self._top)]
        self._kernels, self._tree = kernels, Tree(*levels, self.rows, len(self._leaves), len(self._middle))
        self._sum_all()

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self._top.sum())

    # ---- writing -----------------------------------------------------------------------------------

    def set(self, at: np.ndarray, weights: np.ndarray) -> None:
        """Give rows [k] these weights [k], already raised to alpha; a row of weight zero is never drawn."""
        if not len(at):
            return
        highest = float(weights.max())
        if not (weights.min() >= 0 and highest < np.inf):  # NaN compares false
            raise ValueError("a sampling weight is negative or not finite")
        self.max_weight = max(self.max_weight, highest)
        self._write(at, weights)

    def admit(self, at: np.ndarray) -> None:
        """Give new rows [k] the largest weight set so far, so that each is likely to be seen soon."""
        self._write(at, self.max_weight)

    def forget(self, at: np.ndarray) -> None:
        """Draw rows [k] no more."""
        self._write(at, 0.0)

    def renew(self, gone: np.ndarray, new: np.ndarray) -> None:
        """`forget` some rows and `admit` others, some perhaps in their place."""
        if self._kernels:  # in one call
            weights = np.repeat([0.0, self.max_weight], [len(gone), len(new)])
            self._write(np.concatenate([gone, new]), weights)
        else:
            self.forget(gone)
            self.admit(new)

    def learnt(self, at: np.ndarray, losses: np.ndarray) -> None:
        """Set the weights of rows [k] from their losses [k]. It revives a row forgotten since it was drawn."""
        self.set(at, (np.asarray(losses, np.float64) + EPSILON) ** self.alpha)

    def _write(self, at: np.ndarray, weights: np.ndarray | float) -> None:
        if self._kernels:
            self._kernels.tree_write(self._tree, at, weights)
            return
        self._weights[at] = weights
        if len(at) * FAN >= self.rows:  # gathering a block per row would cost more than all sums
            self._sum_all()
            return
        block = at // FAN
        self._blocks[block] = self._leaves.take(block, 0).sum(1)
        group = block // FAN
        self._top[group] = self._middle.take(group, 0).sum(1)

    def _sum_all(self) -> None:
        if self._kernels:
            self._kernels.tree_sum(self._tree)
            return
        self._leaves.sum(1, out=self._blocks)
        self._middle.sum(1, out=self._top)

    # ---- reading -----------------------------------------------------------------------------------

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(rows [n], their probabilities [n]): one row from each of n equal slices of the total, in order."""
        if self._kernels:
            found = self._kernels.tree_draw(self._tree, rng.random(n), TINY)
            if found is None:
                raise ValueError(NOTHING_YET)
            return found
        ends = self._top.cumsum()
        total = ends[-1]
        if total == 0:
            raise ValueError(NOTHING_YET)
        # In (0, total], and at each level the first child whose cumulative sum reaches the mass: that sum is larger
        # than the one before it, so a child of weight zero cannot be chosen. Rounding may carry the mass past the last
        # sum, which `minimum` undoes; only the smallest totals could underflow to 0, whence `maximum`.
        mass = np.maximum((np.arange(1, n + 1) - rng.random(n)) * (total / n), TINY)
        mass = np.minimum(mass, total)
        group = ends.searchsorted(mass)
        mass -= ends[group - 1] * (group > 0)
        block, mass = _descend(self._middle, group, mass)
        row, _ = _descend(self._leaves, block, mass)
        return row, self._weights[row] / total

    def importance(self, probability: np.ndarray) -> np.ndarray:
        """P^-beta over the batch's largest, float32 [n]: what a row's loss is multiplied by. N cancels."""
        return ((probability.min() / probability) ** self.beta).astype(np.float32)

    # ---- keeping -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The weights, float64 [rows], and the largest so far; sums are rebuilt from them."""
        return {"weights": self._weights.copy(), "max_weight": self.max_weight}

    def restore(self, state: dict[str, Any]) -> None:
        """Put a `state()` back."""
        if len(state["weights"]) != self.rows:
            raise ValueError(f"{len(state['weights'])} weights for a table of {self.rows} rows")
        weights, largest = np.asarray(state["weights"]), float(state["max_weight"])
        if not (np.isfinite(weights).all() and (weights >= 0).all() and 0 <= largest < np.inf):
            raise ValueError("priorities that are not finite, or below 0")
        self._weights[:], self.max_weight = weights, largest
        self._sum_all()


def _descend(level: np.ndarray, node: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the child of each node [n] where its mass [n] > 0 falls, the mass left within it), by `level` [nodes, FAN]."""
    ends = level.take(node, 0).cumsum(1)
    mass = np.minimum(mass, ends[:, -1])
    child = (ends >= mass[:, None]).argmax(1)
    before = ends[np.arange(len(node)), child - 1] * (child > 0)
    return node * FAN + child, mass - before
