"""Where metrics go besides `metrics.jsonl`: `--log tensorboard,csv,wandb,trackio,mlflow`.

Each is told every line as it is written. One that keeps a file in the run's folder writes it anew from metrics.jsonl
when a run goes on, so that nothing is there twice.
"""

import csv
import importlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from reincarnate.errors import UserError
from reincarnate.files.atomic import disk_errors
from reincarnate.run.tensorboard import TensorBoard

Line = dict[str, Any]
PROJECT = "reincarnate"  # what services call the place where runs are gathered


@runtime_checkable
class Logger(Protocol):
    """What is told every line of metrics."""

    def add(self, line: Line) -> None:
        """One line, as metrics.jsonl has it."""
        ...

    def close(self) -> None:
        """The run is over, or interrupted."""
        ...


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line but its clock and its counters, by `kind/name`."""
    counters = ("env_steps", "updates", "seconds")
    return {
        f"{line['kind']}/{name}": value
        for name, value in line.items()
        if name not in counters and isinstance(value, int | float) and not isinstance(value, bool)
    }


def step_of(line: Mapping[str, Any], offline: int) -> int:
    """Where a line stands on an axis that only grows: env steps plus the offline updates before them."""
    return line["updates"] if line["env_steps"] == 0 else offline + line["env_steps"]


class Csv:
    """`metrics.csv`, one number a row: kind, phase, env steps, updates, seconds, name, value."""

    HEAD = ("kind", "phase", "env_steps", "updates", "seconds", "name", "value")

    def __init__(self, run: Path, config: Mapping[str, Any]):
        self._path = run / "metrics.csv"
        with disk_errors(self._path):
            self._file = open(self._path, "w", newline="")  # noqa: SIM115
            self._rows = csv.writer(self._file)
            self._rows.writerow(self.HEAD)
            for line in written(run):
                self.add(line)

    def add(self, line: Line) -> None:
        """Its numbers, a row each."""
        with disk_errors(self._path):
            for name, value in numbers(line).items():
                self._rows.writerow([*(line[key] for key in self.HEAD[:5]), name.partition("/")[2], value])
            self._file.flush()

    def close(self) -> None:
        """Write out what is left."""
        with suppress(OSError):
            self._file.close()


class _Service:
    """A tracking service's client: what differs is how it begins, logs and ends."""

    def __init__(self, module: str, run: Path, config: Mapping[str, Any]):
        self._client, self._offline = importlib.import_module(module), 0
        self._begin(run, config)

    def add(self, line: Line) -> None:
        """Its numbers, at its step."""
        self._offline = line["updates"] if line["env_steps"] == 0 else self._offline
        if found := numbers(line):
            self._log(found, step_of(line, self._offline))

    def _begin(self, run: Path, config: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _log(self, found: dict[str, float], step: int) -> None:
        self._client.log(found, step=step)

    def close(self) -> None:
        """End the run there."""
        self._client.finish()


class Wandb(_Service):
    """Weights & Biases; without a network WANDB_MODE=offline."""

    def __init__(self, run: Path, config: Mapping[str, Any]):
        _Service.__init__(self, "wandb", run, config)

    def _begin(self, run: Path, config: Mapping[str, Any]) -> None:
        self._client.init(project=PROJECT, name=run.name, dir=str(run.parent), config=dict(config))


class Trackio(_Service):
    """Trackio, which keeps its numbers on this machine."""

    def __init__(self, run: Path, config: Mapping[str, Any]):
        _Service.__init__(self, "trackio", run, config)

    def _begin(self, run: Path, config: Mapping[str, Any]) -> None:
        self._client.init(project=PROJECT, name=run.name, config=dict(config))


class MLflow(_Service):
    """MLflow, at MLFLOW_TRACKING_URI or in a folder here."""

    def __init__(self, run: Path, config: Mapping[str, Any]):
        _Service.__init__(self, "mlflow", run, config)

    def _begin(self, run: Path, config: Mapping[str, Any]) -> None:
        self._client.set_experiment(PROJECT)
        self._client.start_run(run_name=run.name)
        self._client.log_params({key: value for key, value in config.items() if not isinstance(value, dict | list)})

    def _log(self, found: dict[str, float], step: int) -> None:
        self._client.log_metrics(found, step=step)

    def close(self) -> None:
        """End the run there."""
        self._client.end_run()


def _tensorboard(run: Path, config: Mapping[str, Any]) -> TensorBoard:
    return TensorBoard(run)


LOGGERS = {"tensorboard": _tensorboard, "csv": Csv, "wandb": Wandb, "trackio": Trackio, "mlflow": MLflow}
PACKAGES = ("wandb", "trackio", "mlflow")  # each of its own, and an extra of that name


def check_loggers(asked: str) -> tuple[str, ...]:
    """The names in a list by commas. Raises UserError for an unknown one, and where its package is missing."""
    names = tuple(name.strip() for name in asked.split(",") if name.strip())
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"--log {name!r} is unknown; known, several by commas: {', '.join(LOGGERS)}")
        if name in PACKAGES and importlib.util.find_spec(name) is None:
            raise UserError(f"--log {name} needs its package: pip install 'reincarnate[{name}]'")
    return names


def open_loggers(asked: str, run: Path, config: Mapping[str, Any]) -> list[Logger]:
    """Those that are asked for, of a run in a folder; `config` is its record."""
    return [LOGGERS[name](run, config) for name in check_loggers(asked)]


def written(run: Path) -> Iterator[Line]:
    """The lines that a run's metrics.jsonl holds."""
    path = run / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        yield json.loads(line)
