"""A flight as a picture and as an animation: its track, its altitude in the winds that it saw, its battery."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from reincarnate.envs.balloon.constants import AGENT_STEP, CAPACITY, EPISODE, STATION_RADIUS
from reincarnate.envs.balloon.features import AMBIENT, LEVEL_PRESSURES, LEVELS, TRIPLES, own_level
from reincarnate.envs.balloon.station import Stations
from reincarnate.files.atomic import write_bytes

BEARINGS = "RdYlGn_r"  # green blows towards the station
FRAMES = 96  # of an animation
INK, TRACK, NIGHT = "#1a1a2e", "#2b6cb0", "#cbd5e0"


@dataclass(frozen=True)
class Flight:
    """What was recorded of one flight of T states."""

    x: np.ndarray  # km east of the station
    y: np.ndarray  # km north
    pressure: np.ndarray  # Pa
    charge: np.ndarray  # share of the battery
    sun: np.ndarray  # degrees of elevation
    bearing: np.ndarray  # [T, 181] of the winds seen: 0 towards the station, 1 away; NaN out of reach
    rewards: np.ndarray  # [T - 1]
    twr50: float

    @property
    def hours(self) -> np.ndarray:
        """Hours since the start [T]."""
        return np.arange(len(self.x)) * AGENT_STEP / 3600


def record(env: Stations, act: Callable[[np.ndarray], np.ndarray], seed: int, steps: int = EPISODE) -> Flight:
    """Fly the first copy from its seed; `act` chooses actions [n] for observations [n, 1099]."""
    obs = env.begin(np.full(env.n, seed))
    rows, rewards, inside = [_seen(env, obs)], [], []
    for _ in range(steps):
        step = env.step(act(obs))
        obs = step.obs
        rewards.append(step.reward[0])
        inside.append(env.score[0] > 0)
        if step.terminated[0] or step.truncated[0]:
            break
        rows.append(_seen(env, obs))
    columns = (np.array(column) for column in zip(*rows, strict=True))
    return Flight(*columns, rewards=np.array(rewards), twr50=float(np.mean(inside)))


def _seen(env: Stations, obs: np.ndarray) -> tuple[Any, ...]:
    state = env.simulator.state
    triples = obs[0, AMBIENT:].reshape(TRIPLES, 3)
    first = LEVELS - 1 - int(own_level(state.pressure[:1])[0])
    levels = triples[first : first + LEVELS]
    bearing = np.where((levels[:, 0] == 0) & (levels[:, 2] == 1), np.nan, levels[:, 1])
    place = (state.x[0] / 1000, state.y[0] / 1000, state.pressure[0], state.charge[0] / CAPACITY)
    return (*place, env.simulator.elevation[0], bearing)


def write(flight: Flight, path: Path) -> None:
    """The flight as a picture or, where the suffix is .gif, as an animation; whole or not at all."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / f"flight{path.suffix}"
        if path.suffix == ".gif":
            animation(flight, made, FRAMES)
        else:
            picture(flight, made)
        write_bytes(path, made.read_bytes())


def picture(flight: Flight, path: Path) -> None:
    """The whole flight as a PNG, or what else the path's suffix names."""
    drawing = _Drawing(flight)
    drawing.show(len(flight.x))
    drawing.figure.savefig(path, dpi=120)


def animation(flight: Flight, path: Path, frames: int = FRAMES, per_second: int = 12) -> None:
    """The flight in motion as a GIF of so many frames."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    drawing = _Drawing(flight)
    ends = np.linspace(1, len(flight.x), frames).astype(int)
    drawing.figure.canvas.draw()
    drawing.figure.set_layout_engine("none")  # settled once, and slow
    moving = FuncAnimation(drawing.figure, lambda frame: drawing.show(int(ends[frame])), frames=frames, blit=False)
    moving.save(path, PillowWriter(fps=per_second), dpi=72)


class _Drawing:
    """The figure of a flight, which can show its first so many states."""

    def __init__(self, flight: Flight):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.flight, self.figure = flight, Figure(figsize=(11, 5), layout="constrained")
        FigureCanvasAgg(self.figure)
        grid = self.figure.add_gridspec(2, 2, width_ratios=(1, 1.3), height_ratios=(2.4, 1))
        self._draw_track(self.figure.add_subplot(grid[:, 0]))
        self._draw_winds(self.figure.add_subplot(grid[0, 1]))
        self._draw_battery(self.figure.add_subplot(grid[1, 1]))

    def show(self, end: int) -> list[Any]:
        """Let every line end at this state, and the winds too. Returns what changed."""
        flight, hours = self.flight, self.flight.hours
        self._track.set_data(flight.x[:end], flight.y[:end])
        self._here.set_data(flight.x[end - 1 : end], flight.y[end - 1 : end])
        self._height.set_data(hours[:end], flight.pressure[:end] / 1000)
        self._charge.set_data(hours[:end], flight.charge[:end])
        self._winds.set_data(np.where(np.arange(len(hours)) < end, flight.bearing.T, np.nan))
        self._title.set_text(f"{hours[end - 1]:.0f} h; within 50 km {100 * flight.twr50:.0f} % of the flight")
        return [self._track, self._here, self._height, self._charge, self._winds, self._title]

    def _draw_track(self, ax: Any) -> None:
        flight, circle, radius = self.flight, np.linspace(0, 2 * np.pi, 181), STATION_RADIUS / 1000
        ax.fill(radius * np.cos(circle), radius * np.sin(circle), color=NIGHT, alpha=0.6, lw=0)
        ax.plot(0, 0, "+", color=INK)
        (self._track,) = ax.plot([], [], color=TRACK, lw=1.2)
        (self._here,) = ax.plot([], [], "o", color=INK, ms=5)
        reach = 1.08 * max(radius, np.abs(flight.x).max(), np.abs(flight.y).max())
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="km east", ylabel="km north")
        self._title = ax.set_title(" ", fontsize=10)

    def _draw_winds(self, ax: Any) -> None:
        hours, levels = self.flight.hours, LEVEL_PRESSURES / 1000
        look = {"aspect": "auto", "cmap": BEARINGS, "vmin": 0, "vmax": 1, "interpolation": "none"}
        extent = (0, max(hours[-1], 0.05), levels[0], levels[-1])
        self._winds = ax.imshow(self.flight.bearing.T, extent=extent, origin="lower", **look)
        (self._height,) = ax.plot([], [], color=INK, lw=1.2)
        ax.set(xlim=extent[:2], ylim=(13.2, 5.2), ylabel="pressure (kPa)")
        ax.set_title("winds as seen: green blow to the station, red away", fontsize=10)

    def _draw_battery(self, ax: Any) -> None:
        hours = self.flight.hours
        ax.fill_between(hours, 0, 1, where=self.flight.sun < 0, color=NIGHT, alpha=0.6, lw=0)
        (self._charge,) = ax.plot([], [], color=TRACK, lw=1.2)
        ax.set(xlim=(0, max(hours[-1], 0.05)), ylim=(0, 1), xlabel="hours (nights grey)", ylabel="battery")
