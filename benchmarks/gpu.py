"""What a GPU buys, in one run of under six minutes: parity with the CPU, and env steps per second on Atari.

    python benchmarks/gpu.py [--seconds 3.5] [--out gpu.json]

Parity: one student, the same batches and draws on CPU and GPU, and how far its weights are apart after some updates.
Throughput: `dqn` (Nature), `rainbow` on Impala and `pqn` on ALE/Breakout-v5 with 1, 16 and 64 copies, with CUDA graphs
and without, with the replay's frames on the GPU (--replay-device) too, and on the CPU beside it; in the library's own
loop, without evaluations. Without a GPU it says so.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reincarnate import envs
from reincarnate.data.memory import memory_for
from reincarnate.students import STUDENTS
from reincarnate.training.evaluate import Evaluation
from reincarnate.training.loop import Loop
from reincarnate.training.population import Alone
from reincarnate.training.training import Training
from reincarnate.types import Phase, Student, TimeStep, Weighing

TASK = "ALE/Breakout-v5"
SIDES: dict[str, dict[str, Any]] = {
    "dqn": {"torso": "nature", "warmup": 500, "replay_size": 20_000},
    "rainbow": {"torso": "impala", "warmup": 500, "replay_size": 20_000},
    "pqn": {"torso": "nature"},
}
PARITY_UPDATES = 20
TOLERANCE = 1e-3  # of weights after so many updates, absolute: two devices add in another order


class Enough(Exception):
    """The time for one measurement is over."""


def settings_of(name: str, copies: int) -> Any:
    own = dict(SIDES[name])
    if name == "pqn":
        own["batch_size"] = min(128, 16 * copies)
    elif copies > 1:
        own["update_every"] = 4 * copies if copies < 64 else 64  # one update for 4 env steps of one copy, in batches
        own["updates_each"] = own["update_every"] // 4
    return STUDENTS[name](**own)


def rate(
    name: str, copies: int, device: torch.device, graphs: bool, seconds: float, held: bool = False
) -> dict[str, float]:
    """Env steps and updates per second once all is warm, and how busy the GPU was."""
    spec, settings = envs.spec(TASK), settings_of(name, copies)
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

    def tick(phase: Phase) -> None:
        now = time.perf_counter()
        if not marks and training.at.updates > 30:
            marks.append((now, training.at.env_steps, training.at.updates))
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
        loop.env.close()
    (start, steps, updates), (end, steps_end, updates_end) = marks
    took = end - start
    found = {"env_steps_per_second": (steps_end - steps) / took, "updates_per_second": (updates_end - updates) / took}
    return {key: round(value, 1) for key, value in found.items()}


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
    parser.add_argument("--seconds", type=float, default=3.5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("PyTorch sees no GPU here: nothing was measured and nothing written")
        return
    torch.set_num_threads(8)
    gpu = torch.cuda.get_device_name()
    found: dict[str, Any] = {
        "command": "python benchmarks/gpu.py",
        "gpu": gpu,
        "torch": torch.__version__,
        "cpu": platform.processor() or platform.machine(),
        "parity": {},
        "throughput": {},
    }
    for name in SIDES:
        found["parity"][name] = {
            "largest_difference": parity(name, False),
            "largest_difference_with_graphs": parity(name, True),
            "same_actions": acting_agrees(name),
        }
        print(name, found["parity"][name], flush=True)
    for copies in (1, 16, 64):
        for name in SIDES:
            sides = {
                "gpu": ("cuda", False, False),
                "gpu with graphs": ("cuda", True, False),
                "gpu with graphs, frames held there": ("cuda", True, True),
                "cpu": ("cpu", False, False),
            }
            for side, (device, graphs, held) in sides.items():
                told = rate(name, copies, torch.device(device), graphs, asked.seconds, held)
                found["throughput"].setdefault(name, {}).setdefault(str(copies), {})[side] = told
                print(name, copies, side, told, flush=True)
                asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
