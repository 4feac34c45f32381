"""CleanRL's own `ppo.py`, unchanged: cleanrl_ppo.py THREADS TASK, by `benchmarks/ppo.py`.

It tells its speed since its start after every rollout; of the first and the last of these follow both times.
"""

import json
import re
import resource
import subprocess
import sys
import time

from stopwatch import arguments


def main() -> None:
    _, task = arguments()
    size = task["copies"] * task["rollout"]
    flags = {
        "env-id": task["env"],
        "num-envs": task["copies"],
        "num-steps": task["rollout"],
        "num-minibatches": size // task["batch"],
        "update-epochs": task["epochs"],
        "total-timesteps": task["steps"],
        "learning-rate": task["lr"],
        "ent-coef": 0,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    words += ["--no-anneal-lr", "--no-clip-vloss", "--no-cuda"]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, task["script"], *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    told = [int(found) for found in re.findall(r"^SPS: (\d+)$", done.stdout, re.M)]
    times = [(k + 1) * size / speed for k, speed in enumerate(told)]
    per_second = (len(told) - 1) * size / (times[-1] - times[0])
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)  # starting up included
    busy = (spent.ru_utime + spent.ru_stime) / (time.perf_counter() - start)
    print(json.dumps({"per_second": per_second, "cores_busy": busy, "memory_mb": round(spent.ru_maxrss / 1024, 1)}))


if __name__ == "__main__":
    main()
