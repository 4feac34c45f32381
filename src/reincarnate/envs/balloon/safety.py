"""Three layers between the command and the balloon: for its battery, its envelope and its altitude."""

from dataclasses import dataclass

import numpy as np

from reincarnate.envs.balloon.constants import AGENT_STEP, CAPACITY, DAY, DOWN, FLOOR_HEIGHT, NIGHT_LOAD, STAY, UP

MORNING = 1800  # s after sunrise until the sun is taken to feed the balloon
RESERVE, RESTART = 0.025, 0.05  # shares of the battery
NOMINAL, LOW, CRITICALLY_LOW, HIGH, CRITICALLY_HIGH = range(5)
LOWER_BOUNDS = np.array([150.0, 250.0, 300.0, 2080.0, 2130.0, 2230.0])  # Pa of superpressure
# between those bounds; -1: as it was where it was low, else nominal; -2: the same for high
ENVELOPE = np.array([CRITICALLY_LOW, LOW, -1, NOMINAL, -2, HIGH, CRITICALLY_HIGH])
ALTITUDE_BOUNDS = np.array([FLOOR_HEIGHT, FLOOR_HEIGHT + 152.4, FLOOR_HEIGHT + 304.8])  # m: 500 ft each


@dataclass
class Safety:
    """What the layers remember of n balloons. Times are seconds since the flight's start."""

    morning: np.ndarray  # the next one, half an hour after sunrise where the flight began
    sunset: np.ndarray
    paused: np.ndarray  # bool, by the battery's layer
    envelope: np.ndarray  # int8
    altitude: np.ndarray  # int8

    @property
    def navigation_paused(self) -> np.ndarray:
        """Whether any of the three is not nominal [n]."""
        return self.paused | (self.envelope != NOMINAL) | (self.altitude != NOMINAL)


def fresh(sunrise: np.ndarray, sunset: np.ndarray) -> Safety:
    """As a flight begins; sunrise and sunset are the next ones, in seconds from now [m]."""
    calm = np.zeros(len(sunrise), np.int8)
    return Safety(sunrise + MORNING, sunset.astype(np.int64), calm.astype(bool), calm, calm.copy())


def command(
    layers: Safety,
    asked: np.ndarray,
    age: np.ndarray,
    charge: np.ndarray,
    superpressure: np.ndarray,
    height: np.ndarray,
) -> tuple[np.ndarray, Safety]:
    """What the balloons do where `asked` [n] is commanded, in the state before the step, and the layers after it."""
    layers = _battery(layers, age * AGENT_STEP, charge)
    envelope = _envelope(layers.envelope, superpressure)
    altitude = _altitude(layers.altitude, height)
    hold = layers.paused | (envelope == LOW) | (envelope == HIGH) | (altitude == LOW)
    flown = np.where((asked == DOWN) & hold, STAY, asked)
    rise = (envelope == CRITICALLY_LOW) | (envelope == CRITICALLY_HIGH) | (altitude == CRITICALLY_LOW)
    return np.where(rise, UP, flown), Safety(layers.morning, layers.sunset, layers.paused, envelope, altitude)


def _battery(layers: Safety, now: np.ndarray, charge: np.ndarray) -> Safety:
    morning = layers.morning + DAY * (now > layers.morning)
    sunset = layers.sunset + DAY * (now > layers.sunset)
    day = sunset < morning
    kept = layers.paused & (charge / CAPACITY < RESTART)
    left = (charge - NIGHT_LOAD * (morning - now) / 3600) / CAPACITY
    paused = np.where(day, kept, layers.paused | (left < RESERVE))
    return Safety(morning, sunset, paused, layers.envelope, layers.altitude)


def _envelope(was: np.ndarray, superpressure: np.ndarray) -> np.ndarray:
    now = ENVELOPE[np.searchsorted(LOWER_BOUNDS, superpressure, side="right")]
    still_low = np.where((was == LOW) | (was == CRITICALLY_LOW), LOW, NOMINAL)
    still_high = np.where((was == HIGH) | (was == CRITICALLY_HIGH), HIGH, NOMINAL)
    return np.where(now == -1, still_low, np.where(now == -2, still_high, now)).astype(np.int8)


def _altitude(was: np.ndarray, height: np.ndarray) -> np.ndarray:
    band = np.searchsorted(ALTITUDE_BOUNDS, height, side="right")
    still_low = np.where(was == NOMINAL, NOMINAL, LOW)
    kinds = [np.full_like(was, CRITICALLY_LOW), np.full_like(was, LOW), still_low, np.zeros_like(was)]
    return np.choose(band, kinds).astype(np.int8)
