"""Ray, where it is asked for: imported with a message, started here or joined, and left as it was found."""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from reincarnate.errors import UserError
from reincarnate.training.remote_actors import Died

ADDRESS = "RAY_ADDRESS"  # Ray's own variable: a running cluster; without it one is started here
MISSING = 'Ray is not installed: pip install "reincarnate[ray]"'
STORE = 200_000_000  # bytes of Ray's object store: settings, parameters and reasons are all that passes through it


def check_installed() -> None:
    """Raises UserError where it is not, without the second that importing it takes."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(MISSING)


def import_ray() -> Any:
    """The module. Raises UserError where it is not installed."""
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UserError(MISSING) from None


def first_line(error: BaseException) -> str:
    """Of Ray's many, cut where it is long."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200]


@contextmanager
def connected(workers: int, address: str | None = None) -> Iterator[Any]:
    """Ray on the cluster at `address`, or one of `workers` CPUs started here. One that runs in this process is used as
    it is, and goes on. Raises UserError where it does not start."""
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            here = {"num_cpus": workers, "object_store_memory": STORE, "include_dashboard": False}
            ray.init(address="local", log_to_driver=False, **here)
    except Exception as error:  # on a machine without time Ray raises no kind of its own
        ray.shutdown()
        raise UserError(f"Ray did not start: {' '.join(str(error).split())}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def for_run(cpus: int) -> AbstractContextManager[Any]:
    """What a run asks for: the cluster that RAY_ADDRESS names, or one here with so many CPUs, or all there are."""
    return connected(max(cpus, os.cpu_count() or 1), os.environ.get(ADDRESS))


def received(ray: Any, owed: Any) -> Any:
    """An actor's reply. Raises Died where it is not there any more, and the UserError that it raised."""
    try:
        return ray.get(owed)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise Died(first_line(error)) from None
