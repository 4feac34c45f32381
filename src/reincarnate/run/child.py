"""A process on this machine that is told things through a pipe and replies, and another in its place once it died."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from reincarnate.run.hosts import GRACE
from reincarnate.surroundings import how_ended, see_ended, spawned
from reincarnate.training.remote_actors import Died


class Child:
    """Runs `live(connection, *told)`, which reads with `connection.recv_bytes()` what is pickled here."""

    def __init__(self, live: Callable[..., None], *told: Any, name: str):
        self._live, self._told, self._name = live, told, name
        self.process: Any = None

    def start(self) -> None:
        """Start a process; of one that was there before nothing is left."""
        self.end()
        self.process, self._connection = spawned(self._live, *self._told, name=self._name, daemon=True)

    def tell(self, what: Any) -> None:
        """Send something. Where it has died, whoever asks for the reply will see."""
        with suppress(OSError):
            self._connection.send_bytes(pickle.dumps(what, pickle.HIGHEST_PROTOCOL))

    def heard(self) -> Any:
        """Wait for a reply. Raises Died where nobody is there any more."""
        try:
            return pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise Died(how_ended(self.process)) from None

    def end(self) -> None:
        """See that nothing of it is left."""
        if self.process is not None:
            self._connection.close()  # which ends it
            see_ended(self.process, GRACE)
