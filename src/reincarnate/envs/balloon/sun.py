"""The sun as the original computes it (NOAA's formulas): where it stands, its flux, what panels make of it.

The sun's direction is kept as a vector in the frame of the flight's centre (up, north, east), tabulated once per
episode; its height over a balloon is then one dot product with the balloon's own vertical.
"""

import numpy as np

from reincarnate.envs.balloon.constants import AGENT_STEP, DAY, EARTH_RADIUS

JULIAN_1970 = 2_440_587.5  # days
J2000 = 2_451_545.0
CENTURY = 36_525.0  # days
DARK = -4.242  # degrees of elevation at and below which there is no sun at a balloon's height
SOLAR_CONSTANT = 1366.0  # W/m²


def ephemeris(unix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Declination (rad), hour angle at Greenwich (rad, 0 at noon) and flux (W/m²) at integer unix seconds."""
    day = unix // DAY
    fraction = (unix - day * DAY) / DAY
    century = (day + JULIAN_1970 + fraction - J2000) / CENTURY
    longitude = np.radians(280.46646 + century * (36_000.76983 + 0.0003032 * century))
    anomaly = np.radians(357.52911 + century * (35_999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (4.2037e-5 + 1.267e-7 * century)
    seconds = 21.448 - century * (46.815 + century * (0.00059 - 0.001813 * century))
    moon = np.radians(125.04 - 1934.136 * century)
    obliquity = np.radians(23 + (26 + seconds / 60) / 60 + 0.00256 * np.cos(moon))
    sin_anomaly, sin_twice = np.sin(anomaly), np.sin(2 * anomaly)
    centre = (
        sin_anomaly * (1.914602 - century * (0.004817 + 1.4e-5 * century))
        + sin_twice * (0.019993 - 1.01e-4 * century)
        + 2.89e-4 * np.sin(3 * anomaly)
    )
    apparent = longitude + np.radians(centre - 0.00569 + 0.00478 * np.sin(moon))
    y = np.tan(obliquity / 2) ** 2
    equation = 4 * np.degrees(  # of time, minutes
        y * np.sin(2 * longitude)
        - 2 * eccentricity * sin_anomaly
        + 4 * eccentricity * y * sin_anomaly * np.cos(2 * longitude)
        - 0.5 * y * y * np.sin(4 * longitude)
        - 1.25 * eccentricity**2 * sin_twice
    )
    declination = np.arcsin(np.sin(obliquity) * np.sin(apparent))
    hour = np.radians((1440 * fraction + equation) / 4 - 180)
    nearness = ((1 + eccentricity) / (1 - eccentricity)) ** 2 - 1
    return declination, hour, SOLAR_CONSTANT * (1 + 0.5 * nearness * np.cos(anomaly))


def directions(unix: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """The sun over places in degrees [n] at times [n, T]: up, north, east, and the flux in W/m². [n, T, 4]"""
    declination, hour, flux = ephemeris(unix)
    hour = hour + np.radians(longitude)[:, None]
    latitude = np.radians(latitude)[:, None]
    along, across = np.sin(declination), np.cos(declination)
    toward = across * np.cos(hour)
    up = np.sin(latitude) * along + np.cos(latitude) * toward
    north = np.cos(latitude) * along - np.sin(latitude) * toward
    return np.stack([up, north, -across * np.sin(hour), flux], axis=-1)


def vertical(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A balloon's vertical in the frame (up, north, east) of its centre, at x metres east and y north on a sphere."""
    angle = np.hypot(x, y) / EARTH_RADIUS
    with np.errstate(invalid="ignore"):
        ratio = np.where(angle > 0, np.sin(angle) / angle, 1.0) / EARTH_RADIUS
    return np.cos(angle), ratio * y, ratio * x


Vertical = tuple[np.ndarray, np.ndarray, np.ndarray]


def dot(vertical: Vertical, directions: np.ndarray) -> np.ndarray:
    """Cosine of the sun's zenith angle over verticals [m], from `directions` [..., m, 3 or 4] of the same frame."""
    up, north, east = vertical
    return up * directions[..., 0] + north * directions[..., 1] + east * directions[..., 2]


def elevation(cosine: np.ndarray) -> np.ndarray:
    """Degrees above the horizon, with refraction, from the cosine of the zenith angle."""
    bare = 90 - np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / np.tan(np.radians(bare))
        square = inverse * inverse
        bent = inverse * (58.1 + square * (-0.07 + 8.6e-5 * square))
    low = 1735 + bare * (-518.2 + bare * (103.4 + bare * (-12.79 + 0.711 * bare)))
    bent = np.where(bare > 5, np.where(bare > 85, 0.0, bent), np.where(bare > -0.575, low, -20.772 * inverse))
    return bare + bent / 3600


def air_mass_per_pascal(height: np.ndarray) -> np.ndarray:
    """Air between a balloon and the sun at this elevation in degrees, divided by the pressure at the balloon."""
    s = 614 * np.sin(np.radians(height))
    return 0.34764 / 101_325 * (np.sqrt(1229 + s * s) - s)


def attenuation(air_mass: np.ndarray) -> np.ndarray:
    """The share of sunlight that passes so much air: the mean of two bands."""
    return 0.5 * (np.exp(-0.65 * air_mass) + np.exp(-0.95 * air_mass))


def _shade_limit(hang: float) -> float:
    return float(np.degrees(np.arctan2(np.sqrt(hang * (10.41603 + hang)), 8.69275)))


SHADED = 0.4392  # of a panel's light where the envelope stands before the sun
HIGH_PANELS, LOW_PANELS = _shade_limit(3.3), _shade_limit(2.7)  # degrees of elevation from which it does


def panel_power(height: np.ndarray) -> np.ndarray:
    """Watts of the solar panels at an elevation in degrees, before attenuation: four at 35° and two at 65°."""
    high = 4 * np.cos(np.radians(height - 35)) * np.where(height >= HIGH_PANELS, SHADED, 1.0)
    low = 2 * np.cos(np.radians(height - 65)) * np.where(height >= LOW_PANELS, SHADED, 1.0)
    return 210 * (high + low)


GRID_BACK, GRID_AHEAD = 245, 965 + 480  # steps of 180 s tabulated before and after the start
GRID = np.arange(-GRID_BACK, GRID_AHEAD + 1) * AGENT_STEP
