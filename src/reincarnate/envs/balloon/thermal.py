"""The gas in the envelope: its volume, its superpressure, and the heat that flows in and out."""

import numpy as np

from reincarnate.envs.balloon.constants import (
    AIR_MASS,
    BASE_VOLUME,
    DRY_MASS,
    ENVELOPE_MASS,
    GAS,
    GRAVITY,
    HELIUM,
    HELIUM_MASS,
    VOLUME_PER_PASCAL,
)
from reincarnate.envs.balloon.sun import DARK, air_mass_per_pascal, attenuation

STEFAN_BOLTZMANN = 5.6704e-8  # W/(m² K⁴)
SPECIFIC_HEAT = 1500.0  # J/(kg K), of the film
REFLECTED = 0.0291  # of what meets the film
ABSORBS_SUN = 0.01435
EARTH_IN_VIEW = 0.4605


def _in_all(absorbed: np.ndarray | float) -> np.ndarray | float:
    """Absorbed at the first pass and at all after it, inside the envelope."""
    return absorbed * (1 + (1 - absorbed - REFLECTED) / (1 - REFLECTED))


def _absorbs_infrared(temperature: np.ndarray) -> np.ndarray | float:
    return _in_all(0.04587 + 0.000232 * (temperature - 210))


SUN_PER_AREA = 0.25 * _in_all(ABSORBS_SUN)


def earthshine(infrared: np.ndarray) -> np.ndarray:
    """Heat per envelope area (W/m²) from upwelling infrared (W/m²)."""
    radiating = (infrared / STEFAN_BOLTZMANN) ** 0.25
    return infrared * EARTH_IN_VIEW * _absorbs_infrared(radiating)


def sunshine(flux: np.ndarray, height: np.ndarray, pressure: np.ndarray) -> np.ndarray:
    """Heat per envelope area (W/m²) from a sun of this flux (W/m²) and elevation (degrees)."""
    passes = attenuation(air_mass_per_pascal(height) * pressure)
    return SUN_PER_AREA * np.where(height < DARK, 0.0, flux * passes)


def radius_of(volume: np.ndarray) -> np.ndarray:
    """Metres, of a sphere."""
    return np.cbrt(volume * (3 / (4 * np.pi)))


def warming(
    radius: np.ndarray,
    internal: np.ndarray,
    ambient: np.ndarray,
    pressure: np.ndarray,
    radiation: np.ndarray,
) -> np.ndarray:
    """Kelvin per second of the film and the gas; `radiation` is what sun and earth give per envelope area (W/m²)."""
    difference = ambient - internal
    density = pressure * (AIR_MASS / GAS) / ambient
    viscosity = 1.458e-6 * ambient * np.sqrt(ambient) / (ambient + 110.4)
    conductivity = 0.0241 * (ambient / 273.15) ** 0.9
    flow = density / viscosity * (2 * radius)
    grashof = (2 * GRAVITY) * radius * flow * flow * np.abs(difference) / ambient
    rayleigh = (0.804 - 3.25e-4 * ambient) * grashof
    nusselt = 2 + 0.457 * np.sqrt(np.sqrt(rayleigh)) + np.sqrt(np.sqrt(np.cbrt(1 + 2.69e-8 * rayleigh)))
    convection = nusselt * conductivity * difference / (2 * radius)
    square = internal * internal
    emission = STEFAN_BOLTZMANN * square * square * _absorbs_infrared(internal)
    area = (4 * np.pi) * radius * radius
    return area * (radiation + convection - emission) / (SPECIFIC_HEAT * ENVELOPE_MASS)


def volume_and_superpressure(
    air: np.ndarray, internal: np.ndarray, pressure: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Volume (m³) and superpressure (Pa) of helium and `air` mols at a temperature (K) and an outer pressure (Pa).

    A slack envelope takes what room the gas wants; a full one widens by 0.0199 m³/Pa.
    """
    energy = (HELIUM + air) * GAS * internal
    slack = energy / pressure
    b = BASE_VOLUME - VOLUME_PER_PASCAL * pressure
    tight = 0.5 * (b + np.sqrt(b * b + 4 * VOLUME_PER_PASCAL * energy))
    full = slack > BASE_VOLUME
    return np.where(full, tight, slack), np.where(full, energy / tight - pressure, 0.0)


ROUNDS, TOLERANCE, NUDGE, FIRST_GUESS = 10, 1e-5, 0.005, 206.0


def at_rest(
    pressure: np.ndarray, ambient: np.ndarray, radiation: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A balloon floating at this pressure in balance: air (mol), internal temperature, volume, superpressure."""
    lifted = pressure * AIR_MASS * BASE_VOLUME / (GAS * ambient)
    air = np.maximum(0.0, (lifted - DRY_MASS - HELIUM_MASS * HELIUM) / AIR_MASS)
    internal, going = np.full_like(pressure, FIRST_GUESS), np.ones(pressure.shape, bool)
    radius = radius_of(np.full_like(pressure, BASE_VOLUME))
    for _ in range(ROUNDS):
        above = warming(radius, internal + NUDGE, ambient, pressure, radiation)
        below = warming(radius, internal - NUDGE, ambient, pressure, radiation)
        mean, slope = 0.5 * (above + below), (above - below) / (2 * NUDGE)
        internal = np.where(going, internal - mean / slope, internal)
        going &= np.abs(mean) >= TOLERANCE
    return air, internal, *volume_and_superpressure(air, internal, pressure)
