"""Who listens to whom in a population that gossips, and what that is worth: mixing matrices and their contraction."""

import math
from typing import Literal

import numpy as np

from reincarnate.errors import UserError

TopologyName = Literal["auto", "ring", "exponential", "full"]
LARGEST_RING = 4  # members; above, a ring forgets too slowly: its spread shrinks by cos(π/n) a round
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


def neighbours(topology: TopologyName, n: int, member: int) -> list[int]:
    """All that a member ever listens to, or that listen to it."""
    found = set()
    for turn in range(period(topology, n)):
        found |= set(senders(topology, n, member, turn))
        found |= {other for other in range(n) if member in senders(topology, n, other, turn)}
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


def ball(lr: float, steepest: float, beta: float) -> float:
    """Radius that a population's spread ‖X − X̄‖ stays within: lr · L · β/(1 − β), for steps of length lr · L at most
    (all members' together) before each round of mixing (Assran et al., 2019, in shape; see docs/populations.md)."""
    return math.inf if beta >= 1 else lr * steepest * beta / (1 - beta)
