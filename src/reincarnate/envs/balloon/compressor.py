"""The compressor that pumps air in to descend, and the valve that lets it out to ascend.

The original writes its efficiencies as one flat list of 52 numbers, which SciPy's `interp2d` reads as four numbers
for each of 13 pressure ratios; they make a plausible map of a compressor only as 13 numbers for each of four powers.
Everything published flew with what SciPy read, so that is the default here ("flown"); "meant" is the other.
"""

from typing import NamedTuple

import numpy as np

from reincarnate.envs.balloon.constants import AIR_MASS, GAS

RATIOS = np.linspace(1.05, 1.35, 13)  # (pressure + superpressure) / pressure
POWERS = np.linspace(100.0, 400.0, 4)  # W
BEST_POWER = ([1.0, 1.05, 1.2, 1.25, 1.35], [100.0, 100.0, 300.0, 400.0, 400.0])  # W by ratio
# fmt: off
EFFICIENCIES = np.array([
    0.4, 0.4, 0.3, 0.2, 0.2, 0, 0, 0, 0, 0, 0, 0, 0,
    0.4, 0.3, 0.3, 0.3, 0.25, 0.23, 0.2, 0.15, 0.12, 0.1, 0, 0, 0,
    0, 0.3, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2, 0.15, 0.13, 0.12, 0.11,
    0, 0.23, 0.23, 0.23, 0.23, 0.23, 0.2, 0.2, 0.2, 0.18, 0.16, 0.15, 0.13,
])
# fmt: on
TABLES = {  # efficiency by ratio and power, kg/s of air for 3600 W
    "flown": EFFICIENCIES.reshape(13, 4),
    "meant": EFFICIENCIES.reshape(4, 13).T,
}
STEP = RATIOS[1] - RATIOS[0]
WATTS = 3600.0
VALVE = 0.62 * np.pi * 0.04**2 / 4  # m², its area and discharge coefficient


class Compressor(NamedTuple):
    """Watts and kg/s at the best power for a pressure ratio, as cubics in the place within one of 14 intervals.

    Between two of the table's ratios the best power is linear, hence efficiency (bilinear) times power is a cubic.
    """

    power: np.ndarray  # [14, 2]
    flow: np.ndarray  # [14, 4]

    def at(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Power (W) and mass flow (kg/s) [m] at these pressure ratios [m]."""
        place = (ratio - (RATIOS[0] - STEP)) / STEP
        interval = np.clip(place.astype(np.intp), 0, len(self.flow) - 1)
        t = np.minimum(place - interval, 1.0)
        power, flow = self.power.take(interval, axis=0), self.flow.take(interval, axis=0)
        cubic = flow[:, 0] + t * (flow[:, 1] + t * (flow[:, 2] + t * flow[:, 3]))
        return power[:, 0] + t * power[:, 1], cubic


def compressor(table: str) -> Compressor:
    """The compressor with the table "flown" or "meant"."""
    left = np.arange(-1, len(RATIOS) - 1)
    ends = np.interp(RATIOS[0] + STEP * np.stack([left, left + 1]), *BEST_POWER)
    power = np.stack([ends[0], ends[1] - ends[0]], axis=1)
    at = np.arange(4) / 3
    places = RATIOS[0] + STEP * (left[:, None] + at)
    watts = power[:, :1] + at * power[:, 1:]
    moved = _efficiency(TABLES[table], places, watts) * watts / WATTS
    cubics = np.linalg.solve(np.vander(at, 4, increasing=True), moved.T).T
    return Compressor(power, cubics)


def _efficiency(table: np.ndarray, ratio: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Bilinear between the nodes, clamped to the table."""
    row, along = _cell(ratio, RATIOS)
    column, across = _cell(power, POWERS)
    low = table[row, column] * (1 - along) + table[row + 1, column] * along
    high = table[row, column + 1] * (1 - along) + table[row + 1, column + 1] * along
    return low * (1 - across) + high * across


def _cell(values: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place = np.clip((values - nodes[0]) / (nodes[1] - nodes[0]), 0, len(nodes) - 1)
    cell = np.minimum(place.astype(np.intp), len(nodes) - 2)
    return cell, place - cell


def valve_flow(superpressure: np.ndarray, internal: np.ndarray, pressure: np.ndarray) -> np.ndarray:
    """Air that leaves through the open valve, kg/s below zero."""
    density = (superpressure + pressure) * (AIR_MASS / GAS) / internal
    return -VALVE * np.sqrt(2 * superpressure * density)


RATIO_LIMITS = np.array([1.08, 1.11, 1.14, 1.17, 1.2, 1.23, 1.26])
CHARGE_LIMITS = np.array(  # shares of the battery, by ratio; 2 is never reached
    [
        [0.3, 0.4, 0.5],
        [0.3, 0.4, 0.7],
        [0.3, 0.4, 0.6],
        [0.3, 0.4, 0.5],
        [0.3, 0.4, 0.5],
        [0.4, 0.5, 2.0],
        [0.5, 0.6, 2.0],
        [0.5, 0.6, 2.0],
    ]
)
PLANNED_POWER = np.array(
    [
        [0.0, 150.0, 175.0, 200.0],
        [0.0, 200.0, 200.0, 225.0],
        [0.0, 225.0, 225.0, 250.0],
        [0.0, 200.0, 225.0, 250.0],
        [0.0, 225.0, 250.0, 275.0],
        [0.0, 275.0, 300.0, 300.0],
        [0.0, 300.0, 325.0, 325.0],
        [0.0, 325.0, 350.0, 350.0],
    ]
)


def planned_power(ratio: np.ndarray, charge: np.ndarray) -> np.ndarray:
    """Watts that the observation announces for a descent, by pressure ratio and share of charge. A table of its own."""
    row = np.searchsorted(RATIO_LIMITS, ratio, side="right")
    column = (charge[:, None] >= CHARGE_LIMITS[row]).sum(axis=1)
    return PLANNED_POWER[row, column]
