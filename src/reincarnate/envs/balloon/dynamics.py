"""Eighteen Euler strides of ten seconds: buoyancy, heat, volume, compressor and battery of n balloons at once.

Source: Balloon Learning Environment 1.0.1, `env/balloon/balloon.py`. In each stride every right-hand side is the
state before it. The wind holds for all strides of a step, so that places, and with them the sun, are known beforehand.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reincarnate.envs.balloon import sun
from reincarnate.envs.balloon.atmosphere import Atmosphere
from reincarnate.envs.balloon.compressor import Compressor, valve_flow
from reincarnate.envs.balloon.constants import (
    AIR_MASS,
    BURST,
    CAPACITY,
    DAY_LOAD,
    DOWN,
    DRY_MASS,
    GAS,
    GRAVITY,
    HELIUM,
    HELIUM_MASS,
    NIGHT_LOAD,
    STRIDE,
    STRIDES,
    UP,
)
from reincarnate.envs.balloon.rows import put, take
from reincarnate.envs.balloon.sun import attenuation
from reincarnate.envs.balloon.thermal import SUN_PER_AREA, radius_of, volume_and_superpressure, warming

OK, BURST_ENVELOPE, ZERO_PRESSURE, OUT_OF_POWER = range(4)
DRAG = 0.25
LIFTED = HELIUM_MASS * HELIUM + DRY_MASS  # kg without the air inside
CLIMB = 2 * GRAVITY / (DRAG * (4 * np.pi / 3) ** (2 / 3))  # drag acts on V^(2/3), which is radius² (4π/3)^(2/3)


@dataclass
class State:
    """n balloons: metres from the station, Pa, K, m³, mol, W, Wh."""

    x: np.ndarray  # east
    y: np.ndarray  # north
    pressure: np.ndarray
    ambient: np.ndarray  # temperature of the air, a stride old
    internal: np.ndarray  # temperature of the gas
    volume: np.ndarray
    superpressure: np.ndarray
    air: np.ndarray
    power: np.ndarray  # of the compressor, in the last stride
    charge: np.ndarray
    status: np.ndarray  # int8


class Light(NamedTuple):
    """The sun in each of the strides of a step [S, n]."""

    warm: np.ndarray  # W/m² of envelope, before attenuation; 0 by night
    panels: np.ndarray  # W, before attenuation; 0 by night
    depth: np.ndarray  # air mass per Pa of the balloon's pressure
    load: np.ndarray  # W without the compressor


def _nodes() -> np.ndarray:
    """Weights [S, 6] that interpolate a table of 180 s at the strides, to the fifth degree through six points."""
    at, nodes = np.arange(STRIDES) / STRIDES, np.arange(-2, 4)
    factors = [[(at - k) / (j - k) for k in nodes if k != j] for j in nodes]
    return np.prod(factors, axis=1).T


NODES = _nodes()
AROUND = np.arange(-2, 4)[:, None]


def light(state: State, wind: np.ndarray, sky: np.ndarray, now: np.ndarray) -> Light:
    """The sun over balloons in this wind [n, 2] (m/s). `sky` [T, 4] as `sun.directions` tells; `now` [n]: its rows.

    Interpolating the sun's direction between rows is exact to 1e-13; the flux moves by 1e-6 in a step.
    """
    rows = sky.take(AROUND + now, axis=0)  # [6, n, 4]
    between = (NODES @ rows.reshape(len(AROUND), -1)).reshape(STRIDES, *rows.shape[1:])
    seconds = STRIDE * np.arange(STRIDES)[:, None]
    vertical = sun.vertical(state.x + seconds * wind[:, 0], state.y + seconds * wind[:, 1])
    height = sun.elevation(sun.dot(vertical, between))
    day = height > sun.DARK
    return Light(
        SUN_PER_AREA * between[..., 3] * (height >= sun.DARK),
        sun.panel_power(height) * day,
        sun.air_mass_per_pascal(height),
        np.where(day, DAY_LOAD, NIGHT_LOAD),
    )


def fly(
    state: State,
    flown: np.ndarray,
    wind: np.ndarray,
    air: Atmosphere,
    pump: Compressor,
    day: Light,
    earth: np.ndarray,
) -> State:
    """The state one agent step later. A balloon that is lost stays as it was at the end of its last stride.

    `flown` [n] are the actions after the safety layers, `wind` [n, 2] blows in m/s to the east and the north, `earth`
    [n] is the heat from below (W/m² of envelope).
    """
    flight = [state]
    rising, sinking = np.flatnonzero(flown == UP), np.flatnonzero(flown == DOWN)
    for s in range(STRIDES):
        flight.append(_stride(flight[-1], rising, sinking, air, pump, Light(*(column[s] for column in day)), earth))
    _move(flight[-1], state, wind, STRIDES)
    _stop_lost(flight, wind)
    return flight[-1]


def _stride(
    old: State, rising: np.ndarray, sinking: np.ndarray, air: Atmosphere, pump: Compressor, sun_now: Light, earth
) -> State:
    """Everything but the place, which `fly` moves at the end."""
    p, internal, ambient = old.pressure, old.internal, old.ambient
    radius = radius_of(old.volume)
    density = p * (AIR_MASS / GAS) / ambient
    lift = density * old.volume - (AIR_MASS * old.air + LIFTED)
    climb = np.sqrt(np.abs(lift) / (density * radius * radius) * CLIMB)
    pair = np.stack([p, p + np.where(lift >= 0, 1.0, -1.0)])
    height, temperature = air.at(pair)
    sunlight = attenuation(sun_now.depth * p)
    heat = warming(radius, internal, ambient, p, sun_now.warm * sunlight + earth)
    volume, superpressure = volume_and_superpressure(old.air, internal, p)
    power, flow = _pumping(old, rising, sinking, pump)
    charging = sun_now.panels * sunlight - sun_now.load - power
    return State(
        old.x,
        old.y,
        p + STRIDE * climb / (height[1] - height[0]),
        temperature[0],
        internal + STRIDE * heat,
        volume,
        superpressure,
        np.maximum(old.air + flow * (STRIDE / AIR_MASS), 0.0),
        power,
        np.minimum(old.charge + charging * (STRIDE / 3600), CAPACITY),
        old.status,
    )


def _pumping(old: State, rising: np.ndarray, sinking: np.ndarray, pump: Compressor) -> tuple[np.ndarray, np.ndarray]:
    """Watts of the compressor and kg/s of air that come in."""
    power, flow = np.zeros_like(old.air), np.zeros_like(old.air)
    if len(rising):
        flow[rising] = valve_flow(old.superpressure[rising], old.internal[rising], old.pressure[rising])
    if len(sinking):
        ratio = 1 + np.maximum(old.superpressure[sinking], 0.0) / old.pressure[sinking]
        power[sinking], flow[sinking] = pump.at(ratio)
    return power, flow


def _move(state: State, began: State, wind: np.ndarray, strides: int) -> None:
    state.x = began.x + wind[:, 0] * (STRIDE * strides)
    state.y = began.y + wind[:, 1] * (STRIDE * strides)


def _stop_lost(flight: list[State], wind: np.ndarray) -> None:
    """Put balloons that were lost under way back to the end of the stride in which they were."""
    pressures = np.stack([state.superpressure for state in flight[1:]])
    charges = np.stack([state.charge for state in flight[1:]])
    lost = (pressures <= 0) | (pressures > BURST) | (charges <= 0)
    if not lost.any():
        return
    end, first = flight[-1], lost.argmax(axis=0)
    for row in np.flatnonzero(lost.any(axis=0)):
        strides = int(first[row]) + 1
        last = take(flight[strides], np.array([row]))
        _move(last, take(flight[0], np.array([row])), wind[[row]], strides)
        last.charge = np.maximum(last.charge, 0.0)
        last.status = _status(last)
        put(end, np.array([row]), last)


def _status(state: State) -> np.ndarray:
    """Out of power goes before no superpressure, which goes before too much of it."""
    status = np.where(state.superpressure > BURST, BURST_ENVELOPE, OK)
    status = np.where(state.superpressure <= 0, ZERO_PRESSURE, status)
    return np.where(state.charge <= 0, OUT_OF_POWER, status).astype(np.int8)
