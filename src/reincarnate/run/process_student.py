"""Where a student learns beside the others of its cast: in a process on this machine, which shares memory with them."""

import pickle
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from reincarnate.run.hosts import GRACE
from reincarnate.surroundings import end_with_parent, how_ended, see_ended, spawned
from reincarnate.training.distant import Done, Job, PupilSpec
from reincarnate.training.mailbox import Mailbox
from reincarnate.training.remote_actors import Died

HERE, THERE = 0, 1  # whose messages are in the shared memory


class ProcessHome:
    """A process and the pipe to it (`training.distant.Home`); states, `like` this one, lie in shared memory."""

    def __init__(self, part: PupilSpec, like: np.ndarray):
        self._part, self._box = part, Mailbox(2, like.size, like.dtype.name)
        self.process: Any = None

    def start(self) -> None:
        """Start a process; of one that was there before nothing is left."""
        self._end()
        told = (self._part, self._box.address)
        self.process, self._connection = spawned(_live, *told, name="distant student", daemon=True)

    def send(self, state: np.ndarray, job: Job) -> None:
        """Leave the state where it looks, and tell it what is due."""
        self._box.post(HERE, state)
        with suppress(OSError):  # it has died: `done` will see
            self._connection.send_bytes(pickle.dumps(job, pickle.HIGHEST_PROTOCOL))

    def done(self) -> tuple[np.ndarray, Done]:
        """What came of it."""
        try:
            done = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise Died(how_ended(self.process)) from None
        return _left(self._box, THERE), done

    def close(self) -> None:
        """See that nothing of it is left."""
        self._end()
        self._box.close(unlink=True)

    def _end(self) -> None:
        if self.process is not None:
            self._connection.close()  # which ends it
            see_ended(self.process, GRACE)


def _left(box: Mailbox, who: int) -> np.ndarray:
    message = box.latest(who)
    assert message is not None, "no state was left"
    return message.vector


# ---- in the process ----------------------------------------------------------------------------------------


def _live(connection: Connection, part: PupilSpec, address: tuple[int, int, str, str]) -> None:
    """Make updates for as long as jobs come."""
    end_with_parent()
    box, pupil = Mailbox(*address), part.pupil()
    try:
        while True:
            job = pickle.loads(connection.recv_bytes())
            state, done = pupil.work(_left(box, HERE), job)
            box.post(THERE, state)
            connection.send_bytes(pickle.dumps(done, pickle.HIGHEST_PROTOCOL))
    except (EOFError, OSError):  # nobody is there any more
        pass
    finally:
        box.close()
