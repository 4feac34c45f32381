"""Steps a second of the Balloon Learning Environment 1.0.1 itself, in its own virtual environment.

    python balloon_original.py THREADS TASK    # TASK: {"steps": 400}

TensorFlow and TensorBoard are imported by it only to read and write files that a flight does not need, so that empty
stand-ins will do. The clock runs over steps alone, after a few that compile; resets are timed apart.
"""

import json
import sys
import time
from unittest.mock import MagicMock

for name in ("tensorflow", "flax.metrics.tensorboard"):
    sys.modules[name] = MagicMock()

import numpy as np  # noqa: E402
from balloon_learning_environment.env import balloon_env  # noqa: E402

WARM = 20


def main() -> None:
    steps = json.loads(sys.argv[2])["steps"]
    env, actions = balloon_env.BalloonEnv(), np.random.default_rng(0)
    env.seed(0)
    env.reset()
    start = time.process_time()
    env.reset()
    reset = time.process_time() - start
    for _ in range(WARM):
        env.step(int(actions.integers(3)))
    wall, start = time.perf_counter(), time.process_time()
    for _ in range(steps):
        if env.step(int(actions.integers(3)))[2]:
            env.reset()
    busy, seconds = time.process_time() - start, time.perf_counter() - wall
    print(json.dumps({"per_cpu_second": steps / busy, "per_second": steps / seconds, "reset_ms": 1000 * reset}))


if __name__ == "__main__":
    main()
