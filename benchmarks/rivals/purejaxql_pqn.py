"""purejaxql's own `pqn_minatar.py`, unchanged: purejaxql_pqn.py THREADS TASK, by `benchmarks/ppo.py`.

The whole training is one compiled function, environment included; it runs once to compile and warm up, and once
against the clock. Weights & Biases, which the script imports and is told not to use, is an empty module here.
"""

import importlib.util
import sys
import types

from stopwatch import arguments, twice


def main() -> None:
    _, task = arguments()
    sys.modules.setdefault("wandb", types.ModuleType("wandb"))
    spec = importlib.util.spec_from_file_location("pqn_minatar", task["script"])
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    import jax

    config = {
        "ENV_NAME": task["theirs"],
        "NUM_ENVS": task["copies"],
        "NUM_STEPS": task["rollout"],
        "NUM_MINIBATCHES": task["copies"] * task["rollout"] // task["batch"],
        "NUM_EPOCHS": task["epochs"],
        "TOTAL_TIMESTEPS": task["steps"],
        "TOTAL_TIMESTEPS_DECAY": task["steps"],
        "EPS_START": 1.0,
        "EPS_FINISH": 0.05,
        "EPS_DECAY": 0.1,
        "NORM_TYPE": "layer_norm",
        "LR": task["lr"],
        "MAX_GRAD_NORM": 10,
        "GAMMA": 0.99,
        "LAMBDA": 0.65,
        "WANDB_MODE": "disabled",
    }
    train = jax.jit(script.make_train(config))
    seed = jax.random.PRNGKey(0)
    twice(lambda: jax.block_until_ready(train(seed)), task["steps"])


if __name__ == "__main__":
    main()
