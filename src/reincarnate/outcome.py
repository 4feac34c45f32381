"""What a run ends in: the final evaluation, the agent, the result."""

import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from reincarnate.agents import save_agent
from reincarnate.card import agent_card
from reincarnate.data import Dataset
from reincarnate.evaluate import Evaluation, evaluate
from reincarnate.exploration import epsilon_greedy
from reincarnate.files import sha256_json
from reincarnate.plan import describe
from reincarnate.prior import Reference, Tick
from reincarnate.run import Prepared, Run, method_name, record
from reincarnate.rundir import RunDirectory
from reincarnate.seeds import stream
from reincarnate.training import Training
from reincarnate.types import Policy, Student, VectorEnv


def evaluate_student(
    run: Run, student: Student, episodes: int, index: int, tick: Callable[[int], None] = lambda _: None
):
    """Greedy but for ε, on streams that training never sees."""

    def policy_at(env: VectorEnv) -> Policy:
        return lambda obs, begins, rng: epsilon_greedy(student.values, obs, env.spec.actions, run.eval_epsilon, rng)

    return evaluate(run.env, policy_at, episodes, stream(run.seed, "evaluate", index), on_episode=tick)


def finish(
    prepared: Prepared,
    training: Training,
    directory: RunDirectory,
    reference: Reference,
    data: Dataset | None,
    how: dict[str, Any],
    tick: Tick,
) -> dict[str, Any]:
    """The final evaluation, the agent, the result; `how` says what else is to be known of the way it was trained."""
    run, total = prepared.run, prepared.run.final_episodes
    training.student.publish()
    final = evaluate_student(
        run, training.student, total, training.at.barrier, lambda done: tick("final evaluation", done, total)
    )
    result = _result(prepared, training, reference, data, final, how) | how
    agent = directory.path / "agent"
    if not agent.exists():
        about = {k: result[k] for k in ("method", "env", "seed", "env_steps", "updates", "seconds", "score", "prior")}
        card = agent_card(result, record(prepared.asked or run))
        save_agent(agent, training.student, about, card, training.memory if run.keep == "all" else None)  # pyright: ignore
    directory.finish(result)
    return result


def _result(
    prepared: Prepared,
    training: Training,
    reference: Reference,
    data: Dataset | None,
    final: Evaluation,
    how: dict[str, Any],
) -> dict[str, Any]:
    run, at, scale = prepared.run, training.at, reference.scale
    offline = sum(phase.updates for phase in training.phases)
    low, high = final.interval()
    return {
        "method": method_name(run),
        "env": run.env,
        "seed": run.seed,
        "env_steps": at.env_steps,
        "updates": at.updates - offline,
        "offline_updates": offline,
        "eval_env_steps": at.eval_env_steps + final.env_steps,
        "seconds": round(at.seconds / how["together"], 2),  # its share
        "score": final.mean,
        "interval": [low, high],
        "normalised": scale.normalise(final.mean) if scale else None,
        "returns": list(final.returns),
        "protocol": prepared.spec.protocol,
        "protocol_hash": sha256_json(prepared.spec.protocol),
        "prior": _priors(prepared, data),
        "reference": reference.summary(),
        "temperature": asdict(prepared.temperature) if prepared.temperature else None,
        "plan": describe(run.phases(), run.student, run.copies),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _priors(prepared: Prepared, data: Dataset | None) -> dict[str, Any]:
    """The hashes of what a run stands on, and the env steps that it cost, where that is known."""
    run, teacher, agent = prepared.run, prepared.teacher, prepared.agent
    taught = teacher is not None and ("teacher" in run.method.needs or (data is not None and run.data is None))
    return {
        "teacher": teacher.card.sha256 if teacher else None,
        "data": data.id if data else None,
        "weights": agent.sha256 if agent else None,
        "data_env_steps": data.transitions if data else 0,
        "uses_teacher": taught,  # not only as the scale
        "teacher_trained_env_steps": teacher.card.trained_env_steps if teacher and taught else None,
        "weights_trained_env_steps": agent.about.get("env_steps") if agent else None,
    }
