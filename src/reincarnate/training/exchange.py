"""What members of a population tell each other between cycles. Seeds together is the exchange that does nothing."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from reincarnate.training.training import Training


@runtime_checkable
class Exchange(Protocol):
    """Called after every cycle of all members; it may change their students."""

    def __call__(self, trainings: Sequence[Training]) -> None: ...


class Nothing:
    """Each learns for itself."""

    def __call__(self, trainings: Sequence[Training]) -> None:
        """Nothing."""
