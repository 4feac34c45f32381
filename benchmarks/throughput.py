"""Training throughput against stable-baselines3's DQN, and the memory of an Atari replay.

    python benchmarks/throughput.py                 # both tasks, 1 and 2 threads for Atari, the replay; writes JSON
    python benchmarks/throughput.py --repeats 5 --out benchmarks/throughput.json

Env steps per second, learner included, from the first env step to the last. Both sides alternate, each repeat in a
process of its own. Identical work: task, network, batch, update ratio, Adam, one environment, 1-step targets, hard
target syncs, ε-greedy with ε from 1 to 0.05 over the first tenth, 100 steps of warm-up. What differs: SB3 clips the
norm of the gradient (it has no switch for that) and monitors episodes; "compiled" is ours with the update compiled
before the clock starts (a run of over 200,000 updates does so by itself; how long it takes is in the JSON); Atari is
preprocessed by each library's own means (SB3: OpenCV wrappers; ours: ale-py's native vector environment), to the same
84 × 84 × 4 bytes. Ours steps the environment beside the learner where that is its default (Atari), and logs episode
returns and losses.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

TASKS = {
    "cartpole": {"env": "CartPole-v1", "batch": 64, "update_every": 1, "steps": 6000, "buffer": 50_000},
    "breakout": {"env": "ALE/Breakout-v5", "batch": 32, "update_every": 4, "steps": 1600, "buffer": 10_000},
}
COMPILATIONS: list[float] = []  # seconds
WARMUP, TARGET_UPDATES, FINAL_EPSILON = 100, 500, 0.05
REPLAY_ROWS = 100_000


def compiled(task: dict, threads: int) -> float:
    return ours(task, threads, compile=True)


def ours(task: dict, threads: int, compile: bool = False) -> float:
    import torch

    from reincarnate import envs
    from reincarnate.evaluate import Evaluation
    from reincarnate.exploration import Exploration
    from reincarnate.methods import Scratch
    from reincarnate.students import DQN
    from reincarnate.training import Training

    torch.set_num_threads(threads)
    spec = envs.spec(task["env"])
    config = DQN(
        hidden=(64, 64) if spec.stack == 1 else (),
        n_step=1,
        batch_size=task["batch"],
        update_every=task["update_every"],
        target_every=TARGET_UPDATES,
        replay_size=task["buffer"],
    )
    student = config.newborn(spec, 0)
    if spec.stack > 1:
        student.overlap()
    if compile:
        warm_up(student, spec)
    training = Training(
        student=student,
        env=envs.make(task["env"], 1),
        phases=[replace(phase, evaluations=1) for phase in Scratch().phases(task["steps"])],
        memory=config.memory(spec, 1),
        prior=None,
        teacher=None,
        scale=None,
        exploration=Exploration(WARMUP, task["steps"] // 10, FINAL_EPSILON),
        evaluate=lambda index: Evaluation((0.0,), 0),
        seed=0,
        pace=config.pace(1),
        overlap=spec.stack > 1,
    )
    start = time.perf_counter()
    training.run(lambda line: None, lambda: None, lambda phase: None)
    return task["steps"] / (time.perf_counter() - start)


def warm_up(student: "ValueStudent", spec: "TaskSpec") -> None:
    """Compile before the clock starts, and say on stderr how long that took; the student is as before afterwards."""
    import torch

    from reincarnate.types import Batch

    size, before = student.batch_size, {name: value.clone() for name, value in student.state().items()}
    obs, actions = [torch.zeros(size, *spec.obs_shape) for _ in range(2)], torch.zeros(size, dtype=torch.int64)
    student.compile()
    start = time.perf_counter()
    student.update(
        Batch(obs[0], actions, torch.zeros(size), torch.zeros(size), obs[1]), [], np.random.default_rng(0)
    )  # no two may be one object
    print(f"compiled in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    student.restore(before)


def sb3(task: dict, threads: int) -> float:
    import ale_py
    import gymnasium
    import torch
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    torch.set_num_threads(threads)
    gymnasium.register_envs(ale_py)
    atari = task["env"].startswith("ALE/")
    env = task["env"]
    if atari:
        wrappers = {"terminal_on_life_loss": False, "noop_max": 0, "action_repeat_probability": 0.25}
        raw = {"frameskip": 1, "repeat_action_probability": 0.0}
        env = VecFrameStack(make_atari_env(env, 1, env_kwargs=raw, wrapper_kwargs=wrappers), 4)
    model = DQN(
        "CnnPolicy" if atari else "MlpPolicy",
        env,
        learning_starts=WARMUP,
        train_freq=task["update_every"],
        gradient_steps=1,
        batch_size=task["batch"],
        buffer_size=task["buffer"],
        target_update_interval=TARGET_UPDATES * task["update_every"],
        exploration_fraction=0.1,
        exploration_final_eps=FINAL_EPSILON,
        policy_kwargs={} if atari else {"net_arch": [64, 64]},
        seed=0,
        device="cpu",
    )
    start = time.perf_counter()
    model.learn(task["steps"])
    return task["steps"] / (time.perf_counter() - start)


def replay_memory() -> dict[str, float]:
    """Peak resident memory that a full Atari replay adds, and its bytes per transition; episodes of 1,000 steps."""
    import numpy as np

    from reincarnate import envs
    from reincarnate.data import Replay

    spec, rng = envs.spec("ALE/Breakout-v5"), np.random.default_rng(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    replay = Replay(spec, REPLAY_ROWS + REPLAY_ROWS // 1000, 1, 3, 0.99)
    obs = rng.integers(1, 255, size=(1, *spec.obs_shape), dtype=np.uint8)
    no, zero = np.zeros(1, bool), np.zeros(1)
    for step in range(REPLAY_ROWS):
        obs[0, -1, step % 84] += 1
        replay.add(obs, zero, zero, np.array([step % 1000 == 999]), no, obs)
    for _ in range(100):
        replay.sample(32, rng)
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {"transitions": replay.transitions, "peak_gb": added / 1e9, "bytes_per_transition": added / REPLAY_ROWS}


def measure(side: str, name: str, threads: int) -> float:
    """One repeat in a fresh process."""
    command = [sys.executable, __file__, "--side", side, "--task", name, "--threads", str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(done.stderr)
    for line in done.stderr.splitlines():
        if line.startswith("compiled in"):
            COMPILATIONS.append(float(line.split()[2]))
    return float(done.stdout.strip().splitlines()[-1])


def contest(name: str, threads: int, repeats: int) -> dict:
    sides = ("ours", "compiled", "sb3") if name == "cartpole" else ("ours", "sb3")
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, values in speeds.items():
            values.append(round(measure(side, name, threads), 1))
    row = {"task": name, "threads": threads, "repeats": repeats, **TASKS[name]}
    for side, values in speeds.items():
        row[side] = {"median": statistics.median(values), "min": min(values), "max": max(values), "all": values}
    best = row.get("compiled", row["ours"])
    row["ratio_of_medians"] = round(row["ours"]["median"] / row["sb3"]["median"], 2)
    row["best_ratio_of_medians"] = round(best["median"] / row["sb3"]["median"], 2)
    medians = "  ".join(f"{side} {row[side]['median']:7.1f}" for side in sides)
    print(f"{name:9} {threads} thread(s): {medians}  best / sb3 {row['best_ratio_of_medians']:.2f}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--side", choices=("ours", "compiled", "sb3", "replay"))
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.side == "replay":
        print(json.dumps(replay_memory()))
    elif args.side:
        print({"ours": ours, "compiled": compiled, "sb3": sb3}[args.side](TASKS[args.task], args.threads))
    else:
        rows = [contest(*row, args.repeats) for row in (("cartpole", 1), ("breakout", 1), ("breakout", 2))]
        memory = subprocess.run(
            [sys.executable, __file__, "--side", "replay"], capture_output=True, text=True, check=True
        )
        write(args.out, rows, json.loads(memory.stdout.strip().splitlines()[-1]))


def write(path: Path, rows: list[dict], memory: dict[str, float]) -> None:
    import multiprocessing
    from importlib.metadata import version

    machine = {"processor": _processor(), "cores": multiprocessing.cpu_count(), "python": platform.python_version()}
    versions = {name: version(name) for name in ("reincarnate", "torch", "stable-baselines3", "gymnasium", "ale-py")}
    result = {
        "command": "python benchmarks/throughput.py",
        "machine": machine,
        "versions": versions,
        "unit": "env steps per second",
        "rows": rows,
        "compile_seconds": {"median": statistics.median(COMPILATIONS), "all": COMPILATIONS},
        "atari_replay": memory,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"replay of {memory['transitions']:,} transitions: {memory['peak_gb']:.3f} GB; written to {path}")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
