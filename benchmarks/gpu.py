"""What a GPU buys, in one run of some six minutes: parity with the CPU, env steps, updates, seeds together.

    python benchmarks/gpu.py [--seconds 2.5] [--out gpu.json]

Parity: one student, the same batches and draws on CPU and GPU, and how far its weights are apart after some updates.
Throughput: `dqn` (Nature), `rainbow` on Impala and `pqn` on ALE/Breakout-v5 with 1, 16 and 64 copies, with CUDA graphs
and without, with the replay's frames on the GPU (--replay-device) and bfloat16 too, and on the CPU beside it; in the
library's own loop, without evaluations; `busy` is NVML's share of the time in which the GPU ran anything. Updates:
off-policy actor-critics on humanoid-run's numbers, and 1, 10 and 32 seeds of a MinAtar DQN in one update. Channels-last
is how every convolution here works, on both devices. Without a GPU it says so.
"""

import argparse
import json
import platform
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reincarnate import envs
from reincarnate.data.memory import memory_for
from reincarnate.students import STUDENTS, captured
from reincarnate.students.stacked import StackedStudent
from reincarnate.training.evaluate import Evaluation
from reincarnate.training.loop import Loop
from reincarnate.training.population import Alone
from reincarnate.training.training import Training
from reincarnate.types import Batch, Phase, Student, TaskSpec, TimeStep, Weighing

TASK = "ALE/Breakout-v5"
SIDES: dict[str, dict[str, Any]] = {
    "dqn": {"torso": "nature", "warmup": 500, "replay_size": 20_000},
    "rainbow": {"torso": "impala", "warmup": 500, "replay_size": 20_000},
    "pqn": {"torso": "nature"},
}
THROUGHPUT_SIDES = {  # device, CUDA graphs, the replay's frames there, bfloat16
    "gpu": ("cuda", False, False, False),
    "gpu with graphs": ("cuda", True, False, False),
    "gpu with graphs, frames held there": ("cuda", True, True, False),
    "gpu with graphs, bfloat16": ("cuda", True, False, True),
    "cpu": ("cpu", False, False, False),
}
ACTOR_CRITIC_SIDES = {  # device, CUDA graphs, bfloat16
    "gpu": ("cuda", False, False),
    "gpu with graphs": ("cuda", True, False),
    "gpu with graphs, bfloat16": ("cuda", True, True),
    "cpu": ("cpu", False, False),
}
PARITY_UPDATES = 20
ACTOR_CRITICS = ("td3", "sac", "tqc", "modern_sac")
HUMANOID = TaskSpec("humanoid-run", (67,), "float32", 21, 1, None, {}, ((-1.0,) * 21, (1.0,) * 21))
MINATAR, TOGETHER = "MinAtar/Breakout-v1", (1, 10, 32)
SAMPLE_SECONDS = 0.1  # between two looks at how busy the GPU is


class Enough(Exception):
    """The time for one measurement is over."""


class Busy:
    """How busy the GPU is while this is open, by NVML; None where that cannot be asked."""

    share: float | None = None

    def __enter__(self) -> "Busy":
        self._over, self._seen = threading.Event(), list[float]()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.share = round(statistics.mean(self._seen) / 100, 3) if self._seen else None

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            try:
                self._seen.append(float(torch.cuda.utilization()))
            except Exception:  # NVML's bindings are not there, or its library is not
                return


def settings_of(name: str, copies: int, half: bool = False) -> Any:
    own = SIDES[name] | {"bfloat16": half}
    if name == "pqn":
        own["batch_size"] = min(128, 16 * copies)
    elif copies > 1:
        own["update_every"] = 4 * copies if copies < 64 else 64  # one update for 4 env steps of one copy, in batches
        own["updates_each"] = own["update_every"] // 4
    return STUDENTS[name](**own)


def rate(
    name: str, copies: int, device: torch.device, graphs: bool, seconds: float, held: bool = False, half: bool = False
) -> dict[str, float | None]:
    """Env steps and updates per second once all is warm, and how busy the GPU was."""
    spec, settings = envs.spec(TASK), settings_of(name, copies, half)
    settings.check(copies)
    student = settings.newborn(spec, 0, device)
    if graphs:
        student.compile()
    memory = memory_for(spec, settings.layout(), settings.storage(spec, copies), copies, device)
    if held:
        memory.mirror()
    training = Training(
        cast={"student": student},
        memories={"student": memory},
        phases=[Phase("online", env_steps=10**9, evaluations=1)],
        prior=None,
        teacher=None,
        scale=None,
        evaluate=lambda _: Evaluation((0.0,), 0),
        seed=0,
        copies=copies,
    )
    loop = Loop([training], {"student": Alone(training)}, envs.make(TASK, copies))
    marks: list[tuple[float, int, int]] = []
    busy = Busy()

    def tick(phase: Phase) -> None:
        now = time.perf_counter()
        if not marks and training.at.updates > 30:
            if device.type == "cuda":
                torch.cuda.synchronize()
                busy.__enter__()
            marks.append((time.perf_counter(), training.at.env_steps, training.at.updates))
        elif marks and now - marks[0][0] > seconds:
            if device.type == "cuda":
                torch.cuda.synchronize()
            marks.append((time.perf_counter(), training.at.env_steps, training.at.updates))
            raise Enough

    try:
        loop.run([lambda line: None], [lambda: None], tick)
    except Enough:
        pass
    finally:
        if device.type == "cuda" and marks:
            busy.__exit__()
        loop.env.close()
    if len(marks) < 2:
        raise RuntimeError("too few updates for a measurement")
    (start, steps, updates), (end, steps_end, updates_end) = marks
    took = end - start
    found = {"env_steps_per_second": (steps_end - steps) / took, "updates_per_second": (updates_end - updates) / took}
    return {key: round(value, 1) for key, value in found.items()} | {"busy": busy.share}


def value_parity(name: str) -> dict[str, Any]:
    """With graphs and without; and whether greedy actions agree."""
    plain, recorded = parity(name, False), parity(name, True)
    return {
        "largest_difference": plain,
        "largest_difference_with_graphs": recorded,
        "same_actions": acting_agrees(name),
    }


def actor_critic_batch(n: int, rng: np.random.Generator, device: torch.device) -> Batch:
    """Made-up steps of humanoid-run's sizes."""

    def some(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape, np.float32)).to(device)

    obs, size = HUMANOID.obs_shape[0], HUMANOID.actions
    return Batch(
        some(n, obs), some(n, size).tanh(), some(n).sigmoid(), torch.full((n,), 0.99, device=device), some(n, obs)
    )


def update_rate(update: Callable[[], object], device: torch.device, seconds: float, warm: int = 8) -> dict[str, Any]:
    """Updates per second once warm, and how busy the GPU was."""
    for _ in range(warm):
        update()
    if device.type == "cuda":
        torch.cuda.synchronize()
    with Busy() as busy:
        begin, done = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            for _ in range(5):
                update()
            done += 5
        if device.type == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - begin
    return {"updates_per_second": round(done / took, 1)} | ({"busy": busy.share} if device.type == "cuda" else {})


def actor_critic_rate(name: str, device: torch.device, graphs: bool, half: bool, seconds: float) -> dict[str, Any]:
    """Of one off-policy actor-critic, its batches on the device already."""
    student = STUDENTS[name](bfloat16=half).newborn(HUMANOID, 0, device)
    if graphs:
        student.compile()
    rng = np.random.default_rng(0)
    batches = [actor_critic_batch(256, rng, device) for _ in range(4)]
    turn = iter(range(10**9))
    return update_rate(lambda: student.update(batches[next(turn) % 4], Weighing(), rng), device, seconds)


def actor_critic_parity(name: str) -> dict[str, float]:
    """The largest difference of a weight after some updates on the CPU, on the GPU and by its recorded graph."""
    sides: list[Any] = [STUDENTS[name]().newborn(HUMANOID, 0, torch.device(d)) for d in ("cpu", "cuda", "cuda")]
    sides[2].compile()
    for student in sides:
        rng, data = np.random.default_rng(1), np.random.default_rng(0)
        for _ in range(PARITY_UPDATES):
            batch = actor_critic_batch(256, data, torch.device("cpu"))
            on = {k: t.to(student.device) for k, t in batch._asdict().items() if isinstance(t, torch.Tensor)}
            student.update(batch._replace(**on), Weighing(), rng)
    plain, eager, recorded = (student.weights() for student in sides)
    return {
        "largest_difference": max(float((plain[k] - eager[k].cpu()).abs().max()) for k in plain),
        "largest_difference_of_the_graph_from_eager": max(float((eager[k] - recorded[k]).abs().max()) for k in plain),
    }


def together_rate(seeds: int, device: torch.device, compiled: bool, seconds: float) -> dict[str, Any]:
    """Updates of all seeds of a MinAtar DQN in one, per second; batches on the device already."""
    spec, settings = envs.spec(MINATAR), STUDENTS["dqn"]()
    stack = StackedStudent([settings.newborn(spec, seed, device) for seed in range(seeds)], compiled)
    data, n = np.random.default_rng(0), settings.batch_size * seeds
    obs = torch.from_numpy(data.integers(0, 2, (2, n, *spec.obs_shape)).astype(spec.obs_dtype)).to(device)
    action = torch.from_numpy(data.integers(spec.actions, size=n)).to(device)
    reward = torch.from_numpy(data.standard_normal(n, np.float32)).to(device)
    batch = Batch(obs[0], action, reward, torch.full((n,), 0.99, device=device), obs[1])
    rngs = [np.random.default_rng(seed) for seed in range(seeds)]
    return update_rate(lambda: stack.update(batch, [Weighing()] * seeds, rngs), device, seconds)


def parity(name: str, graphs: bool) -> float:
    """The largest difference of a weight after some updates on the CPU and on the GPU, from the same batches."""
    spec, settings = envs.spec(TASK), settings_of(name, 16)
    sides: list[Student] = [settings.newborn(spec, 0, torch.device(d)) for d in ("cpu", "cuda")]
    if graphs:
        sides[1].compile()  # pyright: ignore
    for student in sides:
        rng, draws = np.random.default_rng(0), np.random.default_rng(1)
        memory = memory_for(spec, settings.layout(), settings.storage(spec, 16), 16, student.device)
        for _ in range(40):
            obs = rng.integers(0, 255, (16, *spec.obs_shape), np.uint8)
            action, never = rng.integers(spec.actions, size=16), np.zeros(16, bool)
            reward = rng.standard_normal(16).astype(np.float32)
            memory.rows.add(obs, action, reward, never, never, obs)
        for k in range(PARITY_UPDATES):
            if memory.fresh and k == 0:
                memory.rows.foresee(obs)
                memory.begin(student)
            student.update(memory.sample(settings.batch_size, draws), Weighing(), draws)
    one, other = (student.weights() for student in sides)
    return max(float((one[key] - other[key].cpu()).abs().max()) for key in one)


def acting_agrees(name: str) -> bool:
    """Whether greedy actions on random screens are the same."""
    spec, settings = envs.spec(TASK), settings_of(name, 16)
    obs = np.random.default_rng(0).integers(0, 255, (64, *spec.obs_shape), np.uint8)
    step, chosen = TimeStep(torch.from_numpy(obs), torch.zeros(64, dtype=torch.bool)), []
    for device in ("cpu", "cuda"):
        student = settings.newborn(spec, 0, torch.device(device))
        chosen.append(student.act(step, student.initial(64), 0.0, np.random.default_rng(0)).action)
    return bool((chosen[0] == chosen[1]).all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("PyTorch sees no GPU here: nothing was measured and nothing written")
        return
    torch.set_num_threads(8)
    captured.PATIENCE = captured.WARMUPS  # these measurements are short
    gpu = torch.cuda.get_device_name()
    found: dict[str, Any] = {
        "command": "python benchmarks/gpu.py",
        "gpu": gpu,
        "torch": torch.__version__,
        "cpu": platform.processor() or platform.machine(),
    }
    cuda, cpu, seconds = torch.device("cuda"), torch.device("cpu"), asked.seconds

    def told(measure: Callable[[], dict[str, Any]], *place: str) -> None:
        """Into its place, onto the screen, and into the file: what was measured stays where the rest fails."""
        spot = found
        for name in place[:-1]:
            spot = spot.setdefault(name, {})
        try:
            spot[place[-1]] = measure()
        except RuntimeError as error:  # CUDA's, PyTorch's
            spot[place[-1]] = {"failed": str(error).splitlines()[0]}
        print(*place, spot[place[-1]], flush=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n")

    for name in SIDES:
        told(partial(value_parity, name), "parity", name)
    for name in ACTOR_CRITICS:
        told(partial(actor_critic_parity, name), "parity", name)
    for name in ACTOR_CRITICS:
        for side, (device, graphs, half) in ACTOR_CRITIC_SIDES.items():
            rates = partial(actor_critic_rate, name, torch.device(device), graphs, half, seconds / 2)
            told(rates, "updates", name, side)
    for seeds in TOGETHER:
        for side, (device, compiled) in {
            "gpu": (cuda, False),
            "gpu with graphs": (cuda, True),
            "cpu": (cpu, False),
        }.items():
            told(partial(together_rate, seeds, device, compiled, seconds / 2), "seeds together", str(seeds), side)
    for copies in (16, 64, 1):
        for name in SIDES:
            for side, (device, graphs, held, half) in THROUGHPUT_SIDES.items():
                if not held or (copies > 1 and name != "pqn"):  # PQN keeps no replay
                    rates = partial(rate, name, copies, torch.device(device), graphs, seconds, held, half)
                    told(rates, "throughput", name, str(copies), side)


if __name__ == "__main__":
    main()
