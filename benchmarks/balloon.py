"""How fast balloons fly here: env steps a second against the Balloon Learning Environment itself, both on one thread.

    python benchmarks/balloon.py --original PYTHON     # of a virtual environment as rivals/README.md makes it
    python benchmarks/balloon.py --original PYTHON --repeats 5 --copies 64 256

Random actions in official weather with the published decoder (the wheel installed, or in REINCARNATE_BALLOON_DECODER).
Ours counts whole flights' worth of resets: 960 steps cost one reset each. Sides alternate, each repeat in a process of
its own, and are compared per CPU second, which a busy machine disturbs less. Memory is what a process gained by its
copies, at its peak.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import harness

EPISODE, WARM = 960, 130  # the second: until every ring of measurements is full
STEPS = {"ours": 20_000, "original": 400}


def ours(copies: int) -> None:
    """In a process of its own: one line of JSON."""
    import numpy as np
    import torch

    from reincarnate import envs

    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    env, actions = envs.make("Balloon/Station-v0?seeds=0-999", copies), np.random.default_rng(0)
    start = time.process_time()
    env.reset(actions)
    reset = (time.process_time() - start) / copies
    for _ in range(WARM):
        env.step(actions.integers(3, size=copies))
    rounds = max(20, STEPS["ours"] // copies)
    wall, start = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        env.step(actions.integers(3, size=copies))
    busy, seconds = time.process_time() - start, time.perf_counter() - wall
    steps = rounds * copies
    resets = steps / EPISODE * reset
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 / copies
    measured = {"per_cpu_second": steps / (busy + resets), "per_second": steps / (seconds + resets)}
    print(json.dumps({**measured, "reset_ms": 1000 * reset, "mib_per_copy": memory}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=Path, help="Python of the original's virtual environment")
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--note", default="", help="what else is to be known of the machine")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return ours(args.measure)
    sides = {str(n): lambda n=n: harness.fresh("balloon.py", "--measure", n, threads=1, pin=True) for n in args.copies}
    if args.original:
        task = json.dumps({"steps": STEPS["original"]})
        script = "rivals/balloon_original.py"
        sides["original"] = lambda: harness.fresh(script, 1, task, threads=1, python=args.original.absolute(), pin=True)
    found = harness.table(harness.alternate(sides, args.repeats))
    ratios = {}
    if args.original:
        below = found["original"]["per_cpu_second"]
        ratios = {f"{n}_copies": harness.ratio(found[str(n)]["per_cpu_second"], below) for n in args.copies}
    told = {"sides": found, "times_the_original": ratios} | ({"note": args.note} if args.note else {})
    harness.write(args.out, "balloon.py", "env steps", told)


if __name__ == "__main__":
    main()
