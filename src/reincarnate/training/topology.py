"""Who listens to whom in a population that gossips, and what that is worth: mixing matrices and their contraction."""

import math
from typing import Literal

import numpy as np

from reincarnate.errors import UserError

TopologyName = Literal["auto", "ring", "exponential", "full"]
LARGEST_RING = 4  # members; above, a ring forgets too slowly: its spread shrinks by cos(π/n) a round
LONGEST = 10_000  # rounds that are added up
SMALLEST = {"ring": 2, "full": 2, "exponential": 3}  # members that a topology needs


def chosen(topology: TopologyName, n: int) -> TopologyName:
    """What "auto" means for n members. UserError: a topology that so few cannot make."""
    if topology == "auto":
        return "ring" if n <= LARGEST_RING else "exponential"
    if n < SMALLEST[topology]:
        raise UserError(
            f"--exchange.topology {topology} needs {SMALLEST[topology]} members or more, not {n}: use auto, or ring"
        )
    return topology


def senders(topology: TopologyName, n: int, member: int, turn: int) -> list[int]:
    """Whom a member listens to at its `turn`: the one before it in a ring, the one 2^k before it with k going round
    (one-peer exponential graph: Assran et al., 2019), or all."""
    kind = chosen(topology, n)
    if kind == "full":
        return [other for other in range(n) if other != member]
    reach = 1 if kind == "ring" else 2 ** (turn % period(topology, n))
    return [(member - reach) % n]


def period(topology: TopologyName, n: int) -> int:
    """Turns after which a topology repeats itself."""
    return max(1, math.ceil(math.log2(n))) if chosen(topology, n) == "exponential" else 1


def listeners(topology: TopologyName, n: int, member: int) -> list[int]:
    """All that ever listen to a member."""
    turns = range(period(topology, n))
    return [other for other in range(n) if any(member in senders(topology, n, other, turn) for turn in turns)]


def neighbours(topology: TopologyName, n: int, member: int) -> list[int]:
    """All that a member ever listens to, or that listen to it."""
    found = set(listeners(topology, n, member))
    for turn in range(period(topology, n)):
        found |= set(senders(topology, n, member, turn))
    return sorted(found - {member})


def mixing(topology: TopologyName, n: int, turn: int = 0) -> np.ndarray:
    """float64[n, n]: row i is what member i becomes a mean of, itself and those it listens to with equal weights.

    Rows and columns sum to 1 in every topology here, so that the mean over members is kept.
    """
    weights = np.eye(n)
    for member in range(n):
        heard = senders(topology, n, member, turn)
        weights[member, heard] = 1
        weights[member] /= 1 + len(heard)
    return weights


def contraction(topology: TopologyName, n: int) -> float:
    """β: how much of the spread about the mean a round leaves at most, the geometric mean over a period.

    Of a ring with halves cos(π/n); 0 where a period averages exactly.
    """
    product = np.eye(n)
    for turn in range(period(topology, n)):
        product = mixing(topology, n, turn) @ product
    left = float(np.linalg.norm(product - np.full((n, n), 1 / n), 2))
    return 0.0 if left < 1e-12 else left ** (1 / period(topology, n))


def reach(topology: TopologyName, n: int) -> float:
    """Σ_s ‖W_t … W_{t−s+1} − J‖ over s ≥ 1, at the worst turn t: for how many rounds a step apart is felt.

    β/(1 − β) for a topology that does not change: 0, 2.4, 12, 51 for rings of 2, 4, 8, 16. An exponential graph is felt
    for less than a period where that averages exactly.
    """
    sums = []
    for turn in range(period(topology, n)):
        product, total = np.eye(n), 0.0
        for back in range(LONGEST):
            product = product @ mixing(topology, n, (turn - back) % period(topology, n))
            left = float(np.linalg.norm(product - np.full((n, n), 1 / n), 2))
            total += left
            if left < 1e-9:
                break
        sums.append(total)
    return max(sums)


def ball(lr: float, steepest: float, topology: TopologyName, n: int) -> float:
    """Radius that a population's spread ‖X − X̄‖ stays within: lr · L · `reach`, where all members' steps before a round
    have together a length of lr · L at most (in shape the ball of Assran et al., 2019; see docs/populations.md)."""
    return lr * steepest * reach(topology, n)
