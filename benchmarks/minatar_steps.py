"""MinAtar's environment steps per second: the package's environments in a list against ours stepped together.

Both play the same random actions, out of all that the game offers, from the same seeds; the raw loop is the package
alone (act, state, reset) without our bookkeeping. All sides take turns in one process, by the clock and by the
processor's time, which other processes disturb less.
`python benchmarks/minatar_steps.py [--copies 64] [--repeats 7]`
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from harness import HERE, alternate, ratio, table, write
from minatar.environment import Environment

from reincarnate.envs.minatar import GAMES, STICKY, listed, spec, together

BY_CLOCK, BY_PROCESSOR = "env_steps_per_second", "env_steps_per_processor_second"
Stepper = Callable[[np.ndarray], object]


def raw(env_id: str, n: int) -> Stepper:
    """The package in a Python loop, nothing else."""
    games = [Environment(GAMES[env_id], sticky_action_prob=STICKY) for _ in range(n)]
    minimal = games[0].minimal_action_set()
    for i, game in enumerate(games):
        game.seed(i)
        game.reset()

    def step(actions: np.ndarray) -> None:
        for game, action in zip(games, actions.tolist(), strict=True):
            _, over = game.act(minimal[action])
            game.state()
            if over:
                game.reset()

    return step


def steppers(env_id: str, n: int) -> dict[str, Stepper]:
    sides = {"list": listed(env_id, n), "together": together(env_id, n)}
    for env in sides.values():
        env.begin(np.arange(n))
    return {"raw_loop": raw(env_id, n), **{side: env.step for side, env in sides.items()}}


def measure(step: Stepper, actions: np.ndarray) -> dict[str, float]:
    clock, processor = time.perf_counter(), time.process_time()
    for row in actions:
        step(row)
    spent = {BY_CLOCK: time.perf_counter() - clock, BY_PROCESSOR: time.process_time() - processor}
    return {key: actions.size / seconds for key, seconds in spent.items()}


def game(env_id: str, n: int, repeats: int) -> dict:
    sides = steppers(env_id, n)
    steps = {"raw_loop": 60, "list": 60, "together": 300}  # vector steps a turn
    rng = np.random.default_rng(0)
    actions = rng.integers(spec(env_id).actions, size=(max(steps.values()), n))
    for side, step in sides.items():  # past the first, easy steps of the episodes
        measure(step, actions[: steps[side]])
    taken = alternate({s: lambda s=s: measure(sides[s], actions[: steps[s]]) for s in sides}, repeats)
    spreads = table(taken)
    gains = {
        f"over_{s}{told}": ratio(spreads["together"][key], spreads[s][key])
        for key, told in ((BY_CLOCK, ""), (BY_PROCESSOR, "_by_processor"))
        for s in ("raw_loop", "list")
    }
    print(f"{env_id} n={n}: {spreads['together'][BY_CLOCK]['median']:.0f} /s, {gains}", flush=True)
    return {**spreads, **gains}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, nargs="+", default=[4, 8, 16, 32, 64, 256])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    results = {env_id: {str(n): game(env_id, n, args.repeats) for n in args.copies} for env_id in GAMES}
    write(HERE / "minatar_steps.json", "minatar_steps.py", "environment steps per second", {"games": results})


if __name__ == "__main__":
    main()
