"""CartPole's environment steps per second: Gymnasium's environments one after another, its vector class, ours together.

Random actions, all sides in turn in one process, by the clock and by the processor's time. Gymnasium's vector class
restarts a copy in the step after its end and draws all states from one generator, so its episodes are others.
`python benchmarks/cartpole_steps.py [--copies 4 8 64] [--repeats 7]`
"""

import argparse
import sys

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from harness import HERE, alternate, ratio, table, write
from minatar_steps import BY_CLOCK, BY_PROCESSOR, Stepper, measure

from reincarnate import envs
from reincarnate.envs import cartpole

STEPS = 600  # vector steps a turn


def steppers(n: int) -> dict[str, Stepper]:
    quicker_from, cartpole.SOME = cartpole.SOME, sys.maxsize
    apart = envs.make("CartPole-v1", n)
    cartpole.SOME = quicker_from
    together, theirs = envs.make("CartPole-v1", n), CartPoleVectorEnv(num_envs=n)
    for env in (apart, together):
        env.reset(np.random.default_rng(0))
    theirs.reset(seed=0)
    return {"apart": apart.step, "gymnasium_vector": theirs.step, "together": together.step}


def contest(n: int, repeats: int) -> dict:
    sides, actions = steppers(n), np.random.default_rng(0).integers(2, size=(STEPS, n))
    spreads = table(alternate({s: lambda s=s: measure(sides[s], actions) for s in sides}, repeats))
    gains = {
        f"over_{s}{told}": ratio(spreads["together"][key], spreads[s][key])
        for key, told in ((BY_CLOCK, ""), (BY_PROCESSOR, "_by_processor"))
        for s in ("apart", "gymnasium_vector")
    }
    print(f"n={n}: {spreads['together'][BY_CLOCK]['median']:.0f} /s, {gains}", flush=True)
    return {**spreads, **gains}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, nargs="+", default=[4, 8, 16, 64, 256])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    results = {str(n): contest(n, args.repeats) for n in args.copies}
    write(HERE / "cartpole_steps.json", "cartpole_steps.py", "environment steps per second", {"copies": results})


if __name__ == "__main__":
    main()
