"""purejaxrl's own `ppo.py`, unchanged: purejaxrl_ppo.py THREADS TASK, by `benchmarks/ppo.py`.

The whole training is one compiled function, its JAX CartPole (gymnax) included; it runs once to compile and warm up,
and once against the clock. Brax and navix, which its wrappers import for other tasks, are empty modules here.
"""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from stopwatch import arguments, twice

ABSENT = ("brax", "brax.envs", "brax.envs.wrappers", "brax.envs.wrappers.training", "navix")


class Absent(types.ModuleType):
    """A module with every name in it, and nothing behind them."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(name)


def main() -> None:
    _, task = arguments()
    for name in ABSENT:
        sys.modules[name] = Absent(name)
    sys.path.insert(0, str(Path(task["script"]).parent))  # its wrappers lie beside it
    spec = importlib.util.spec_from_file_location("purejaxrl_ppo_script", task["script"])
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    import jax

    config = {
        "ENV_NAME": task["env"],
        "NUM_ENVS": task["copies"],
        "NUM_STEPS": task["rollout"],
        "NUM_MINIBATCHES": task["copies"] * task["rollout"] // task["batch"],
        "UPDATE_EPOCHS": task["epochs"],
        "TOTAL_TIMESTEPS": task["steps"],
        "LR": task["lr"],
        "ANNEAL_LR": False,
        "ACTIVATION": "tanh",
        "GAMMA": 0.99,
        "GAE_LAMBDA": 0.95,
        "CLIP_EPS": 0.2,
        "ENT_COEF": 0.0,
        "VF_COEF": 0.5,
        "MAX_GRAD_NORM": 0.5,
        "DEBUG": False,
    }
    train = jax.jit(script.make_train(config))
    seed = jax.random.PRNGKey(0)
    twice(lambda: jax.block_until_ready(train(seed)), task["steps"])


if __name__ == "__main__":
    main()
