"""What networks with a memory are asked about: rows of sequences, which they read whole."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from reincarnate.nets.torsos import as_float


class History(NamedTuple):
    """Sequences that are read whole, and the rows of them that are asked about.

    The first `burn_in` rows only warm memories up, without gradient; `at` counts from the row after them.
    """

    obs: Tensor  # [B, T, *O]
    begins: Bool[Tensor, "B T"]
    carry: Tensor | None  # [B, H]: the actor's memory before the first row; None: an empty one
    burn_in: int
    at: Int64[Tensor, "B U"]

    @property
    def rows(self) -> Float[Tensor, "N O"]:
        """The observations that are asked about, each flat: N = B·U."""
        obs = as_float(self.obs[:, self.burn_in :]).flatten(2)
        return rows_at(obs, self.at).flatten(0, 1)


def rows_at(x: Float[Tensor, "B T F"], at: Int64[Tensor, "B U"]) -> Float[Tensor, "B U F"]:
    """Rows of each sequence by their numbers."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))
