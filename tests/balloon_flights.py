"""Recorded flights of the published simulator, and ours replaying them."""

from pathlib import Path

import numpy as np

from reincarnate.envs.balloon.simulator import Simulator
from reincarnate.envs.balloon.start import Start
from reincarnate.envs.balloon.wind import LATENTS, OUTPUTS

FOLDER = Path(__file__).parent / "fixtures" / "balloon_flights"
FLIGHTS = {"as_flown_1": "flown", "as_flown_103": "flown", "meant_table_101": "meant"}
COLUMNS = [
    "x",
    "y",
    "pressure",
    "ambient",
    "internal",
    "volume",
    "superpressure",
    "air",
    "power",
    "flow",
    "solar",
    "load",
    "charge",
    "status",
    "wind_u",
    "wind_v",
    "forecast_u",
    "forecast_v",
    "top",
    "floor",
    "sunrise",
    "sunset",
    "elevation",
    "flux",
    "latitude",
    "longitude",
    "paused",
]
PHYSICS = ("x", "y", "pressure", "ambient", "internal", "volume", "superpressure", "air", "power", "charge")
SCALE = {
    "x": 1e5,
    "y": 1e5,
    "superpressure": 1e3,
    "air": 1e3,
    "power": 1e2,
    "charge": 1e3,
}  # what errors are relative to


class Recorded:
    """One flight: a row of the published simulator's numbers a step, actions, rewards, some observations."""

    def __init__(self, name: str):
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
            self.data = {key: file[key] for key in file.files}
        self.columns = dict(zip(COLUMNS, self.data["rows"].T, strict=True))
        self.actions, self.rewards = self.data["acts"].astype(np.int64), self.data["rews"]
        self.table = FLIGHTS[name]
        self.seen = dict(zip(self.data["obs_step"].tolist(), self.data["obs"], strict=True))

    def simulator(self) -> Simulator:
        """Ours, launched in the same weather. Its decoder tells this flight's winds whatever it is asked."""
        sim = Simulator(1, [(np.zeros((LATENTS, OUTPUTS), np.float32), self.data["psi"])], self.table)
        d = {key.removeprefix("i_"): np.asarray(value)[None] for key, value in self.data.items()}
        place = (d["lat"], d["lng"], d["x"], d["y"], d["pressure"], d["ir"])
        noise = (d["wind_seeds"].astype(np.int64), d["off"].astype(np.float64))
        sim.launch(np.array([0]), Start(d["lapse"], d["start"], *place, np.zeros((1, LATENTS)), *noise))
        return sim

    def force(self, sim: Simulator, t: int) -> None:
        """Put the recorded state of step t in the place of ours."""
        for name in PHYSICS:
            getattr(sim.state, name)[0] = self.columns[name][t]
        sim.state.status[0] = self.columns["status"][t]

    def physics_error(self, sim: Simulator, t: int) -> float:
        """The largest difference of any number of the state, relative to its size in flight."""
        pairs = ((name, getattr(sim.state, name)[0], self.columns[name][t]) for name in PHYSICS)
        return max(abs(ours - theirs) / SCALE.get(name, abs(theirs)) for name, ours, theirs in pairs)
