"""What a distribution's loss costs a whole update: as its formula reads, and as the library computes it; and bfloat16.

    python benchmarks/distributional.py          # writes distributional.json beside itself

"direct" shares every atom's mass with every atom (C51's projection as a K × K sum), and leaves the pairs of the
quantile loss to autograd. Both give the same numbers (`tests/test_distributions.py`). One thread, ready batches, each
student with its own settings; milliseconds of the processor per update. "bfloat16": ours, with hidden layers in half
precision.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from torch import Tensor

from reincarnate.losses import distributions
from reincarnate.students import STUDENTS
from reincarnate.types import Batch, TaskSpec, Weighing

GRID = TaskSpec("MinAtar/Breakout-v1", (10, 10, 4), "bool", 3, 1, None, {})
BODY = TaskSpec("humanoid", (67,), "float32", 21, 1, None, {}, ((-1.0,) * 21, (1.0,) * 21))
STUDENTS_OF = {"rainbow": GRID, "qrdqn": GRID, "iqn": GRID, "d4pg": BODY, "tqc": BODY, "modern_sac": BODY, "sac": BODY}
STUDENTS_OF |= {"td3": BODY}
UPDATES = 10


def direct_quantiles(predictions: Tensor, fractions: Tensor, targets: Tensor, kappa: float) -> Tensor:
    """QR-DQN's loss as its equation reads, differentiated by autograd."""
    error = targets.detach()[:, None, :] - predictions[:, :, None]
    distance = error.abs()
    inside = distance.clamp(max=kappa)
    weight = (fractions.detach()[:, :, None] - (error < 0).to(error.dtype)).abs()
    return (weight * inside * (distance - inside / 2) / kappa).mean(2).sum(1)


OURS = {"_by_scattering": distributions._by_scattering, "quantile_huber": distributions.quantile_huber}
DIRECT = {"_by_scattering": distributions._by_sums, "quantile_huber": direct_quantiles}


def batch_for(spec: TaskSpec, size: int) -> Batch:
    """Random rows."""
    if spec.continuous:
        obs, next_obs = torch.randn(2, size, *spec.obs_shape)
        action = torch.rand(size, spec.actions) * 2 - 1
    else:
        obs, next_obs = torch.rand(2, size, *spec.obs_shape) < 0.1
        action = torch.randint(spec.actions, (size,))
    return Batch(obs, action, torch.rand(size), torch.full((size,), 0.99), next_obs)


def side(name: str, functions: dict[str, Any], half: bool = False) -> Callable[[], harness.Measured]:
    """Updates of a student with these functions for a distribution's losses."""
    student = STUDENTS[name](bfloat16=half).newborn(STUDENTS_OF[name], 0)
    batch, rng = batch_for(STUDENTS_OF[name], student.settings.batch_size), np.random.default_rng(0)

    def measure() -> harness.Measured:
        for key, function in functions.items():
            setattr(distributions, key, function)
        student.update(batch, Weighing(), rng)
        start = time.thread_time()
        for _ in range(UPDATES):
            student.update(batch, Weighing(), rng)
        return {"milliseconds": 1e3 * (time.thread_time() - start) / UPDATES}

    return measure


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=harness.HERE / "distributional.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {}
    for name in STUDENTS_OF:
        sides = {"ours": side(name, OURS), "bfloat16": side(name, OURS, half=True)}
        if name not in ("sac", "td3"):  # whose critics tell plain values
            sides = {"direct": side(name, DIRECT), **sides}
        found[name] = harness.table(harness.alternate(sides, given.repeats))
        print(name, {key: told["milliseconds"]["median"] for key, told in found[name].items()}, flush=True)
    details = {"repeats": given.repeats, "updates": UPDATES, "rows": found}
    harness.write(given.out, "distributional.py", "milliseconds of the processor per update", details)


if __name__ == "__main__":
    main()
