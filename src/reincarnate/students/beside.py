"""What a student computes beside the learner's thread, and how the stepping of environments gives way to it."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any


class Beside:
    """A thread for what the learner is about to wait for.

    With two cores and a third thread that steps environments, that wait would last as long as both together: so who
    steps waits first (`give_way`), and steps while gradients are computed, which nobody waits for.
    """

    def __init__(self):
        self._pool = ThreadPoolExecutor(1)
        self._begun: Future[Any] | None = None

    def begin(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Begin some work, one at a time."""
        self._begun = self._pool.submit(work, *arguments)
        return self._begun

    def give_way(self) -> None:
        """Return when what was begun is done."""
        begun = self._begun
        if begun is not None and not begun.done():
            wait([begun])
