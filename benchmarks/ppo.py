"""PPO training throughput against Stable-Baselines3, and where they are given SBX (JAX) and CleanRL.

    python benchmarks/ppo.py                       # ours and sb3, all tasks, one thread; writes ppo.json
    python benchmarks/ppo.py --rivals DIR          # those in DIR as well: sbx, cleanrl, purejaxrl, purejaxql
                                                   # (`benchmarks/rivals/README.md`)

Units: env steps per second, learner included, and the most memory a process held (VmHWM, MiB); the clock starts after
the first rollout's updates. All sides alternate, each repeat in a process of its own. Identical work: task, copies,
rollout, minibatches, epochs, networks (64-64 tanh for the actor, as many for the critic), Adam, clipping, normalised
advantages, gradient norm 0.5. Stable-Baselines3 monitors episodes; ours logs losses and returns. On HalfCheetah nothing
is normalised on either side. CleanRL's script plays CartPole alone: its continuous one normalises, and needs an older
Gymnasium's task.

"ours, compiled" is ours with --compile on, whose compilation falls before the clock starts, as JAX's does: kernels of
our own on CartPole and MinAtar, one program of TorchInductor on HalfCheetah.

"pqn" is PQN against purejaxql's, whose training is one compiled function, its JAX environment included: 3×3 convolution
of 16, 128 units, LayerNorm before each ReLU, λ-returns. Theirs has RAdam and half the squared error, ours Adam and
Huber's loss.

"recurrent" is PPO with a memory against sb3-contrib's RecurrentPPO on CartPole: 64-64 tanh, one LSTM of 128 for actor
and critic, linear heads. Two ways of cutting: "whole" with gradients through all 128 steps of a copy, as theirs pass
within an episode; "cut" through 16, which changes the gradient and not the number of examples.
"""

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import harness

TASKS: dict[str, dict[str, Any]] = {
    "cartpole": {"env": "CartPole-v1", "copies": 8, "rollout": 256, "batch": 64, "epochs": 10, "steps": 16_384},
    "cheetah": {"env": "HalfCheetah-v5", "copies": 1, "rollout": 2048, "batch": 64, "epochs": 10, "steps": 16_384},
    **{
        f"recurrent, {name}": {
            **{"env": "CartPole-v1", "copies": 8, "rollout": 128, "batch": 128, "epochs": 10, "steps": 8_192},
            **{"student": {"memory": "lstm", "memory_size": 128, "hidden": (64, 64), "segment": segment}},
            "rival": "sb3_recurrent_ppo.py",
        }
        for name, segment in (("whole", 128), ("cut", 16))
    },
    "pqn": {
        **{"env": "MinAtar/Breakout-v1", "copies": 32, "rollout": 16, "batch": 128, "epochs": 2, "steps": 131_072},
        **{"student": {"name": "pqn"}, "lr": 5e-4, "theirs": "Breakout-MinAtar"},
    },
}
COMPILED = ("cartpole", "cheetah", "pqn")
AGAINST = {
    "cartpole": ("sb3", "sbx", "cleanrl", "purejaxrl"),
    "cheetah": ("sb3", "sbx"),
    "pqn": ("purejaxql",),
}  # others: sb3
SCRIPTS = {  # who runs a rival, and the rival's own script
    "sbx": ("sb3_ppo.py", ""),
    "cleanrl": ("cleanrl_ppo.py", "cleanrl/cleanrl/ppo.py"),
    "purejaxrl": ("purejaxrl_ppo.py", "purejaxrl/purejaxrl/ppo.py"),
    "purejaxql": ("purejaxql_pqn.py", "purejaxql/purejaxql/pqn_minatar.py"),
}


class Clock:
    """Reads the time whenever a rollout has been learnt from, from the first on."""

    def __init__(self, training: Any):
        self._training = training
        self._marks: list[tuple[int, float, float]] = []

    def __call__(self, phase: Any) -> None:
        mark = (self._training.at.phase_env_steps, time.perf_counter(), time.process_time())
        self._marks[1:] = [mark]

    def read(self) -> dict[str, float]:
        (before, start, busy), (after, end, busy_end) = self._marks
        return {"per_second": (after - before) / (end - start), "cores_busy": (busy_end - busy) / (end - start)}


def ours(task: dict[str, Any], threads: int) -> dict[str, float]:
    import torch

    from reincarnate import envs
    from reincarnate.data.memory import memory_for
    from reincarnate.students import STUDENTS
    from reincarnate.training.evaluate import Evaluation, Scale
    from reincarnate.training.loop import Loop
    from reincarnate.training.population import Alone
    from reincarnate.training.training import Training
    from reincarnate.types import Phase

    torch.set_num_threads(threads)
    copies, spec = task["copies"], envs.spec(task["env"])
    told = {"name": "ppo", "lr": task["lr"], **task.get("student", {})}
    shape = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items() if name != "name"}
    kind = STUDENTS[told["name"]]
    config = kind(rollout=task["rollout"], batch_size=task["batch"], epochs=task["epochs"], **shape)
    env = envs.make(task["env"], copies)
    training = Training(
        cast={"student": config.newborn(spec, 0)},
        memories={"student": memory_for(spec, config.layout(), config.storage(spec, copies), copies)},
        phases=[Phase("online", env_steps=task["steps"], evaluations=1)],
        prior=None,
        teacher=None,
        scale=Scale(0.0, 1.0),
        evaluate=lambda index: Evaluation((0.0,), 0),
        seed=0,
        copies=copies,
    )
    if task.get("compiled"):
        training.student.compile()  # pyright: ignore[reportAttributeAccessIssue]
    clock = Clock(training)
    Loop([training], {"student": Alone(training)}, env).run([lambda line: None], [lambda: None], clock)
    env.close()
    return {**clock.read(), "memory_mb": round(harness.memory_kb("VmHWM") / 1024, 1)}


def measure(side: str, task: dict[str, Any], threads: int, rivals: Path | None) -> dict[str, float]:
    """One repeat of one side, in a fresh process."""
    if side.startswith("ours"):
        task = {**task, "compiled": side != "ours"}
        return harness.fresh("ppo.py", "--side", threads, json.dumps(task), threads=threads)
    if side == "sb3":
        task, script = {**task, "library": "stable_baselines3"}, task.get("rival", "sb3_ppo.py")
        return harness.fresh(f"rivals/{script}", threads, json.dumps(task), threads=threads)
    assert rivals is not None
    script, theirs = SCRIPTS[side]
    task = {**task, "library": "sbx", "script": str(rivals.absolute() / theirs)}
    python = rivals.absolute() / side / "bin" / "python"
    return harness.fresh(f"rivals/{script}", threads, json.dumps(task), threads=threads, python=python)


def sides_of(name: str, rivals: Path | None) -> list[str]:
    """Who takes part."""
    own = ["ours", "ours, compiled"] if name in COMPILED else ["ours"]
    there = lambda side: side == "sb3" or (rivals is not None and (rivals / side).is_dir())
    return [*own, *filter(there, AGAINST.get(name, ("sb3",)))]


def contest(name: str, threads: int, repeats: int, steps: int | None, rivals: Path | None) -> dict[str, Any]:
    task = {"lr": 3e-4, **TASKS[name]}
    task["steps"] = steps or task["steps"]
    task["clock"] = task["copies"] * task["rollout"]
    sides = {side: lambda side=side: measure(side, task, threads, rivals) for side in sides_of(name, rivals)}
    rows = harness.table(harness.alternate(sides, repeats))
    ratios = {}
    own, others = ([side for side in sides if side.startswith("ours") is mine] for mine in (True, False))
    for ours, side in itertools.product(own, others):
        for key in ("per_second", "memory_mb"):
            ratios[f"{ours} / {side}, {key}"] = harness.ratio(rows[ours][key], rows[side][key])
    for said, ratio in ratios.items():
        print(f"{name}: {said} {ratio['of_medians']} ({ratio['min']} to {ratio['max']})", flush=True)
    return {"task": name, "threads": threads, **task, "sides": rows, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", type=Path, help="the folder of their virtual environments, sbx and cleanrl")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--steps", type=int, help="env steps instead of the task's own, for a quick look")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--side", nargs=2, metavar=("THREADS", "TASK"), help="one repeat of ours")
    args = parser.parse_args()
    if args.side:
        print(json.dumps(ours(json.loads(args.side[1]), int(args.side[0]))))
        return
    given = (args.repeats, args.steps, args.rivals)
    rows = [contest(name, threads, *given) for name in args.tasks for threads in args.threads]
    harness.write(args.out, "ppo.py", "env steps per second", {"repeats": args.repeats, "rows": rows})


if __name__ == "__main__":
    main()
