"""How many images should pass a network at once? A policy of pgx and a PQN's network, 512 screens of MinAtar Breakout.

    python benchmarks/blocks.py          # writes blocks.json beside itself

Blocks of each size in turn, one thread, without gradients; milliseconds of the processor for all 512.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import harness
import torch
from torch import Tensor, nn

from reincarnate.nets.torsos import MinAtarCNN
from reincarnate.teachers.pgx import open_address

ROLLOUT = 512  # 32 copies, 16 steps: what a PQN asks its teacher about
SIZES = (32, 64, 128, 256, ROLLOUT)
TEACHER = harness.HERE.parent.parent / "shared" / "teachers" / "minatar" / "pgx_ppo_breakout.npz"


def networks(teacher: Path) -> dict[str, nn.Module]:
    """The teacher's and a student's."""
    return {"pgx policy": open_address(str(teacher), 3).network, "MinAtar torso": MinAtarCNN((10, 10, 4), (128,), True)}


@torch.no_grad()
def milliseconds(network: Callable[[Tensor], Tensor], screens: Tensor, size: int, times: int = 20) -> harness.Measured:
    """Of the processor, for all screens in blocks of a size."""
    start = time.thread_time()
    for _ in range(times):
        torch.cat([network(part) for part in screens.split(size)])
    return {"milliseconds": 1e3 * (time.thread_time() - start) / times}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, default=TEACHER)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=harness.HERE / "blocks.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    screens, found = torch.rand(ROLLOUT, 10, 10, 4) < 0.1, {}
    for name, network in networks(given.teacher).items():
        sides = {str(size): (lambda n=network, s=size: milliseconds(n, screens, s)) for size in SIZES}
        found[name] = harness.table(harness.alternate(sides, given.repeats))
        print(name, {size: told["milliseconds"]["median"] for size, told in found[name].items()})
    harness.write(given.out, "blocks.py", "milliseconds of the processor", {"repeats": given.repeats, "rows": found})


if __name__ == "__main__":
    main()
