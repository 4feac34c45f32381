"""n balloons in their weather, stepped together: launch, fly, observe."""

from typing import NamedTuple

import numpy as np

from reincarnate.envs.balloon import features, safety, sun, wind
from reincarnate.envs.balloon.atmosphere import Atmosphere
from reincarnate.envs.balloon.compressor import compressor
from reincarnate.envs.balloon.constants import (
    AGENT_STEP,
    AIR_MASS,
    BASE_VOLUME,
    DRY_MASS,
    FLOOR_HEIGHT,
    GAS,
    HELIUM,
    HELIUM_MASS,
    STAY,
)
from reincarnate.envs.balloon.daylight import Sky, next_sunrise_and_sunset, solar_phase
from reincarnate.envs.balloon.dynamics import OK, State, fly, light
from reincarnate.envs.balloon.gp import RING, WindErrors
from reincarnate.envs.balloon.rows import put, take
from reincarnate.envs.balloon.start import Start
from reincarnate.envs.balloon.thermal import at_rest, earthshine, sunshine

FULL = 2905.6  # Wh in the battery as a flight begins
COLUMN = np.linspace(0.0, 1.0, 20)
COLUMN_TOP = 1000.0  # Pa


class Seen(NamedTuple):
    """What `observe` saw of m balloons."""

    obs: np.ndarray  # float32 [m, 1099]
    excess: np.ndarray  # bool [m], whether there is energy to spare


class Simulator:
    """n balloons. Rows not yet launched hold numbers that mean nothing."""

    def __init__(self, n: int, layers: wind.Layers | None, table: str):
        self.n = n
        self.air, self.forecast, self.noise = Atmosphere(n), wind.Forecast(n, layers), wind.Noise(n)
        self.errors, self._pump = WindErrors(n), compressor(table)
        self.state = State(*(np.zeros(n) for _ in range(10)), status=np.zeros(n, np.int8))
        self.layers = safety.fresh(np.zeros(n, np.int64), np.zeros(n, np.int64))
        self.age, self.last = np.zeros(n, np.int64), np.full(n, STAY)
        self.wind, self.forecast_here = np.zeros((n, 2)), np.zeros((n, 2))
        self.sky = np.zeros((n, len(sun.GRID), 4))
        self._later = np.zeros((n, len(sun.GRID), 3))  # the sun one second after each row of the sky
        self._earth = np.zeros(n)
        self.reach = np.zeros((n, 2))  # the least and the greatest pressure that can be flown, Pa
        self._first, self._count = np.zeros(n, np.int64), np.ones(n, np.int64)
        self._levels = wind.interpolation(features.LEVEL_PRESSURES)
        self.sunrise, self.sunset = np.zeros(n, np.int64), np.zeros(n, np.int64)  # seconds from now
        self.elevation = np.zeros(n)

    def launch(self, rows: np.ndarray, start: Start) -> None:
        """Begin flights anew in these rows [m]: balloons at rest, batteries at 95 %, nothing known of the winds."""
        self.air.put(rows, start.lapse)
        self.forecast.put(rows, start.latents)
        self.noise.put(rows, start.seeds, start.offsets)
        self.errors.forget(rows)
        times = start.start[:, None] + sun.GRID
        self.sky[rows] = sun.directions(times, start.latitude, start.longitude)
        self._later[rows] = sun.directions(times + 1, start.latitude, start.longitude)[..., :3]
        self._earth[rows] = earthshine(start.infrared)
        self.age[rows], self.last[rows] = 0, STAY
        self._place(rows, start)
        self._reach(rows)
        self._look_up(rows)
        put(self.layers, rows, safety.fresh(self.sunrise[rows], self.sunset[rows]))

    def _place(self, rows: np.ndarray, start: Start) -> None:
        vertical = sun.vertical(start.x, start.y)
        now = self.sky[rows, sun.GRID_BACK]
        height = sun.elevation(sun.dot(vertical, now))
        ambient = self.air.at(start.pressure, rows)[1]
        radiation = sunshine(now[:, 3], height, start.pressure) + self._earth[rows]
        air, internal, volume, superpressure = at_rest(start.pressure, ambient, radiation)
        zero, charge = np.zeros(len(rows)), np.full(len(rows), FULL)
        status = np.full(len(rows), OK, np.int8)
        state = (start.x, start.y, start.pressure, ambient, internal, volume, superpressure, air, zero, charge, status)
        put(self.state, rows, State(*state))

    def _reach(self, rows: np.ndarray) -> None:
        """From where a balloon without air floats to the floor.

        The original narrows this range further where a balloon at rest at either end had an unsafe superpressure; in
        the weather that it draws this does not happen.
        """
        floor = self.air.pressure_at(FLOOR_HEIGHT, rows)
        column = COLUMN_TOP + COLUMN[:, None] * (floor - COLUMN_TOP)
        density = column / self.air.at(column, rows)[1]
        wanted = (DRY_MASS + HELIUM_MASS * HELIUM) * GAS / (AIR_MASS * BASE_VOLUME)
        cell = np.clip((density < wanted).sum(axis=0) - 1, 0, len(COLUMN) - 2)
        m = np.arange(len(rows))
        share = (wanted - density[cell, m]) / (density[cell + 1, m] - density[cell, m])
        top = column[cell, m] + share * (column[cell + 1, m] - column[cell, m])
        self.reach[rows] = np.stack([top, floor], axis=1)
        first = np.searchsorted(features.LEVEL_PRESSURES, top)
        self._first[rows] = first
        self._count[rows] = np.searchsorted(features.LEVEL_PRESSURES, floor, side="right") - first

    def fly(self, actions: np.ndarray, busy: np.ndarray) -> None:
        """One agent step of every balloon in `busy` [n]; the others stay as they are. `actions` [n]: 0, 1, 2."""
        height = self.air.at(self.state.pressure)[0]
        flown, layers = safety.command(
            self.layers, actions, self.age, self.state.charge, self.state.superpressure, height
        )
        now = self._rows_of_sky(np.arange(self.n))
        day = light(self.state, self.wind, self.sky.reshape(-1, 4), now)
        state = fly(self.state, flown, self.wind, self.air, self._pump, day, self._earth)
        if busy.all():
            self.state, self.layers, self.last = state, layers, actions.copy()
        else:
            put(self.state, busy, take(state, busy))
            put(self.layers, busy, take(layers, busy))
            self.last[busy] = actions[busy]
        self.age[busy] += 1

    def _rows_of_sky(self, rows: np.ndarray) -> np.ndarray:
        return rows * len(sun.GRID) + sun.GRID_BACK + self.age[rows]

    def _look_up(self, rows: np.ndarray) -> None:
        """Where the sun stands over these rows, and when it rises and sets next."""
        state = self.state
        vertical = sun.vertical(state.x[rows], state.y[rows])
        sky = Sky(self.sky, rows, self.age[rows], vertical)
        later = self._later.reshape(-1, 3).take(self._rows_of_sky(rows), axis=0)
        cosine = sky.cosine(np.zeros(len(rows), np.int64))
        afternoon = sun.dot(vertical, later) < cosine
        self.elevation[rows] = sun.elevation(cosine)
        found = next_sunrise_and_sunset(sky, afternoon)
        self.sunrise[rows], self.sunset[rows] = found * AGENT_STEP

    def observe(self, rows: np.ndarray) -> Seen:
        """Measure the wind in these rows (ascending) and see what the observation shows. Once after each step."""
        self._look_up(rows)
        state, seconds = take(self.state, rows), self.age[rows] * AGENT_STEP
        where = np.stack([state.x, state.y, state.pressure, seconds], axis=1)
        error = self.noise.at(rows, where)
        column = self.forecast.column(rows, state.x, state.y, seconds)
        self.forecast_here[rows] = wind.at_pressure(column, state.pressure)
        self.wind[rows] = self.forecast_here[rows] + error
        first, count = self._first[rows], self._count[rows]
        levels = first[:, None] + np.arange(count.max())
        mean, variance = self.errors.observe(
            rows, self.age[rows] % RING, where, error, features.LOWEST + features.SPACING * levels
        )
        known = self._levels.take(levels, axis=0, mode="clip")
        triples = features.winds(mean + known @ column, variance, state.x, state.y)
        return self._assemble(rows, state, triples, first, count)

    def _assemble(self, rows: np.ndarray, state: State, triples: np.ndarray, first, count) -> Seen:
        excess = features.excess_energy(self.solar_power(rows), state.charge)
        around = features.ambient(
            state.pressure,
            state.superpressure,
            state.charge,
            state.x,
            state.y,
            self.elevation[rows],
            solar_phase(self.sunrise[rows], self.sunset[rows]),
            self.last[rows],
            self.layers.navigation_paused[rows],
            excess,
        )
        return Seen(features.assemble(around, triples, first, count, features.own_level(state.pressure)), excess)

    def solar_power(self, rows: np.ndarray) -> np.ndarray:
        """Watts that the panels give now [m]."""
        height = self.elevation[rows]
        passes = sun.attenuation(sun.air_mass_per_pascal(height) * self.state.pressure[rows])
        return np.where(height < sun.DARK, 0.0, passes * sun.panel_power(height))
