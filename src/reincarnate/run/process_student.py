"""Where a student learns beside the others of its cast: in a process on this machine, which shares memory with them."""

import pickle
from multiprocessing.connection import Connection

import numpy as np

from reincarnate.run.child import Child
from reincarnate.surroundings import end_with_parent
from reincarnate.training.distant import Done, Job, PupilSpec
from reincarnate.training.mailbox import Mailbox

HERE, THERE = 0, 1  # whose messages are in the shared memory


class ProcessHome(Child):
    """A process and the pipe to it (`training.distant.Home`); states, `like` this one, lie in shared memory."""

    def __init__(self, part: PupilSpec, like: np.ndarray):
        self._box = Mailbox(2, like.size, like.dtype.name)
        super().__init__(_live, part, self._box.address, name="distant student")

    def send(self, state: np.ndarray, job: Job) -> None:
        """Leave the state where it looks, and tell it what is due."""
        self._box.post(HERE, state)
        self.tell(job)

    def done(self) -> tuple[np.ndarray, Done]:
        """What came of it."""
        done = self.heard()
        return self._box.left_by(THERE), done

    def close(self) -> None:
        """See that nothing of it is left."""
        self.end()
        self._box.close(unlink=True)


# ---- in the process ----------------------------------------------------------------------------------------


def _live(connection: Connection, part: PupilSpec, address: tuple[int, int, str, str]) -> None:
    """Make updates for as long as jobs come."""
    end_with_parent()
    box, pupil = Mailbox(*address), part.pupil()
    try:
        while True:
            job = pickle.loads(connection.recv_bytes())
            state, done = pupil.work(box.left_by(HERE), job)
            box.post(THERE, state)
            connection.send_bytes(pickle.dumps(done, pickle.HIGHEST_PROTOCOL))
    except (EOFError, OSError):  # nobody is there any more
        pass
    finally:
        box.close()
