"""The standard atmosphere of the Balloon Learning Environment: layers of constant lapse rate, mixed per episode."""

import numpy as np

from reincarnate.envs.balloon.constants import AIR_MASS, GAS, GRAVITY
from reincarnate.envs.balloon.rows import EVERY, Rows

LOW = np.array([-0.007, 0.006, 0.001, 0.0028, 0.0, -0.0028, -0.002])  # K/m
HIGH = np.array([-0.0058, 0.005, 0.001, 0.0028, 0.0, -0.0028, -0.002])
HEIGHTS = np.array([-610.0, 17_000.0, 21_000.0, 32_000.0])  # m, where the layers that a balloon meets begin
TOP = 47_000.0  # m
LAYERS = len(HEIGHTS)
BASE_TEMPERATURE, BASE_PRESSURE = 300.0, 108_870.8213  # K, Pa
PER_LAPSE = GAS / AIR_MASS / GRAVITY  # m/K


def lapse_rates(mix: np.ndarray) -> np.ndarray:
    """Lapse rates [n, 7] in K/m of atmospheres between the two extremes, `mix` [n] in 0 to 1."""
    return (1 - mix[:, None]) * LOW + mix[:, None] * HIGH


class Atmosphere:
    """n atmospheres. A balloon flies in the second and third layer; the first and fourth complete the column."""

    def __init__(self, n: int):
        self._bottom = np.ones((n, LAYERS + 1))  # pressures where layers begin, Pa
        self._layers = np.ones((5, n, LAYERS))  # pressure, exponent, K/(K/m), height, temperature at the bottom
        self._first = LAYERS * np.arange(n)

    def put(self, rows: Rows, lapse: np.ndarray) -> None:
        """New atmospheres [m, 7] in these rows: T = T_i + L_i (h − H_i), p = P_i (T/T_i)^(−g / (R_d L_i))."""
        temperature, pressure = np.full(len(lapse), BASE_TEMPERATURE), np.full(len(lapse), BASE_PRESSURE)
        tops = [*HEIGHTS[1:], TOP]
        self._bottom[rows, 0] = pressure
        for i, (height, top) in enumerate(zip(HEIGHTS, tops, strict=True)):
            rate = lapse[:, i]
            self._layers[:, rows, i] = (
                pressure,
                -PER_LAPSE * rate,
                temperature / rate,
                np.full_like(rate, height),
                temperature,
            )
            above = temperature + rate * (top - height)
            pressure = pressure * (above / temperature) ** (-1 / (PER_LAPSE * rate))
            temperature = above
            self._bottom[rows, i + 1] = pressure

    def at(self, pressure: np.ndarray, rows: Rows = EVERY) -> tuple[np.ndarray, np.ndarray]:
        """Height (m) and temperature (K) at pressures [..., m] of these rows."""
        bottom = self._bottom[rows]
        index = (pressure <= bottom[:, 1]).astype(np.intp)
        index += pressure <= bottom[:, 2]
        index += pressure <= bottom[:, 3]
        index += self._first[rows]
        start, exponent, slope, height, temperature = self._layers.reshape(5, -1).take(index, axis=1)
        ratio = (pressure / start) ** exponent
        return (ratio - 1) * slope + height, temperature * ratio

    def pressure_at(self, height: float, rows: Rows = EVERY) -> np.ndarray:
        """Pressures [m] in Pa at a height in the lowest layer. Source: as in `put`."""
        start, exponent, slope, bottom, _ = self._layers[:, rows, 0]
        return start * (1 + (height - bottom) / slope) ** (1 / exponent)
