"""What a run ends in: the final evaluation, the agent, the result."""

import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from reincarnate.agents.agent import save_agent
from reincarnate.agents.card import agent_card, best_score, final_score
from reincarnate.data import Dataset
from reincarnate.envs.several import names_of
from reincarnate.files.atomic import sha256_json
from reincarnate.priors.played import Tick
from reincarnate.priors.reference import Reference
from reincarnate.run.callbacks import Moment, tell
from reincarnate.run.directory import RunDirectory
from reincarnate.run.plan import describe
from reincarnate.run.prepare import Prepared
from reincarnate.run.settings import Note, Run, method_name, record
from reincarnate.run.videos import keep_video
from reincarnate.seeds import stream
from reincarnate.store.index import register
from reincarnate.store.nodes import made_by
from reincarnate.store.origin import origin
from reincarnate.store.trust import vouch
from reincarnate.training.counting import Counters
from reincarnate.training.evaluate import Evaluation, Scale, Scales, evaluate
from reincarnate.training.flops import flops_of_run
from reincarnate.training.latency import acting_ms
from reincarnate.training.players import Greedy
from reincarnate.training.training import Training
from reincarnate.types import Student

COST = ("env_steps", "eval_env_steps", "updates", "offline_updates", "seconds", "flops")
ABOUT = ("method", "env", "seed", *COST, "score", "interval", "prior")  # of a result, in an agent
COMPANY = ("population", "copied", "changed")  # of a member of a population besides


def evaluate_student(
    run: Run, student: Student, episodes: int, index: int, tick: Callable[[int], None] = lambda _: None
):
    """Greedy but for ε, on streams that training never sees."""

    actor = Greedy(student.policy, student.spec, run.eval_epsilon)
    rng = stream(run.seed, "evaluate", index)
    return evaluate(run.env, actor, episodes, rng, student.policy.view, on_episode=tick).by(run.metric)


def finish(
    prepared: Prepared,
    training: Training,
    directory: RunDirectory,
    how: dict[str, Any],
    tick: Tick,
    note: Note,
) -> dict[str, Any]:
    """The final evaluation, the agents, the result; `how` says what else is to be known of the way it was trained."""
    run, total = prepared.run, prepared.run.final_episodes
    training.student.publish()
    final = evaluate_student(
        run, training.student, total, training.at.barrier, lambda done: tick("final evaluation", done, total)
    )
    result = _result(prepared, training, final, how) | how
    if training.at.env_steps < sum(phase.env_steps for phase in training.phases):
        result["stopped"] = run.stop_at  # before its budget was spent
    if run.video != "off":
        keep_video(run, training.student, directory.path, training.at.barrier)
    agent = directory.path / "agent"
    if not agent.exists():
        card = agent_card(result, record(prepared.recorded), final_score(result))
        memory = training.memory if run.keep == "all" else None
        save_agent(agent, training.student, _about(result, prepared), card, memory)  # pyright: ignore
    vouch(agent)
    result["best"] = _keep_best(prepared, training, directory, result, note)
    directory.finish(result)
    return _registered(result, run, directory, note)


def conclude(result: dict[str, Any], run: Run, directory: RunDirectory, note: Note) -> dict[str, Any]:
    """The last steps of a run that was killed when its result was written already."""
    directory.conclude()
    return _registered({k: v for k, v in result.items() if k != "format"}, run, directory, note)


def _registered(result: dict[str, Any], run: Run, directory: RunDirectory, note: Note) -> dict[str, Any]:
    if unknown := register(Path(run.store), directory.path):
        note(f"warning: {unknown}")
    tell(Moment("end", directory.path, result))
    return result


def _about(result: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    """What an agent says of itself: its run's result, and how to repeat it."""
    kept = {k: result[k] for k in ABOUT} | {k: result[k] for k in COMPANY if k in result}
    return kept | made_by(record(prepared.recorded))


def _keep_best(
    prepared: Prepared, training: Training, directory: RunDirectory, result: dict[str, Any], note: Note
) -> dict[str, Any] | None:
    """Save the student of the best evaluation as `agent-best`, and say which that was; None where it was the last.

    The student of `training` is that one afterwards.
    """
    at, agent = training.at, directory.path / "agent-best"
    if at.best_barrier == at.barrier:
        return None
    saved = directory.best(at.best_barrier)
    if saved is None:
        note(f"warning: the checkpoint of the best evaluation is missing or damaged; there will be no {agent}")
        return None
    then = Counters.from_record(saved.state["training"])
    offline = then.offline_updates(training.phases)
    counts = {"env_steps": then.env_steps, "updates": then.updates - offline, "offline_updates": offline}
    best = {"evaluation": at.best_barrier, "score": at.best_score, **counts}
    if not agent.exists():
        flops = flops_of_run(training, then, then.eval_env_steps)
        spent = {"seconds": round(then.seconds / result["together"], 2), "flops": flops}
        told = result | best | spent | {"eval_env_steps": then.eval_env_steps, "interval": None}
        told |= {k: getattr(then, own) for k, own in (("copied", "copied"), ("changed", "changes")) if k in result}
        about = _about(told, prepared) | {"evaluation": told["evaluation"]}
        words = best_score(best, prepared.run.eval_episodes)
        training.student.restore(saved.student())
        save_agent(agent, training.student, about, agent_card(told, record(prepared.recorded), words))  # pyright: ignore
    vouch(agent)
    return best


def _result(
    prepared: Prepared,
    training: Training,
    final: Evaluation,
    how: dict[str, Any],
) -> dict[str, Any]:
    run, at, reference, data = prepared.run, training.at, prepared.reference, prepared.data
    assert reference is not None
    scale = reference.scale
    offline = at.offline_updates(training.phases)
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
        "flops": flops_of_run(training, at, at.eval_env_steps + final.env_steps, data),
        "score": final.mean,
        "interval": [low, high],
        "normalised": scale.of(final)[0] if scale and scale.tells else None,
        **_by_task(prepared, final),
        "returns": list(final.returns),
        **_measured(run, reference, final),
        "protocol": prepared.spec.protocol,
        "protocol_hash": sha256_json(prepared.spec.protocol),
        "prior": _priors(prepared, reference, data),
        "reference": reference.summary(),
        "temperature": asdict(prepared.temperature) if prepared.temperature else None,
        **({"support": asdict(prepared.support)} if prepared.support else {}),
        "plan": describe(run.phases(), run.student, run.copies),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    } | ({"acting": acting_ms(training.cast)} if len(training.cast) > 1 else {})


def _measured(run: Run, reference: Reference, final: Evaluation) -> dict[str, Any]:
    """Of a task with a score of its own: which measure is the score, and what each of the two says."""
    if final.name is None:
        return {}
    scales = {name: reference.by(name).scale for name in final.measures()}
    told = {name: said | {"normalised": _told(scales[name], said["mean"])} for name, said in final.measures().items()}
    return {"metric": run.metric, "measures": told, "own": list(final.own)}


def _told(scale: Scale | None, score: float) -> float | None:
    """A score as results tell it: None where no teacher gives a scale."""
    return scale.normalise(score) if scale and scale.tells else None


def _by_task(prepared: Prepared, final: Evaluation) -> dict[str, Any]:
    """Of several tasks each one's score, interval, normalised score and references, by its address."""
    reference, names = prepared.reference, names_of(prepared.spec)
    if not names or reference is None:
        return {}
    scale, references, told = reference.scale, reference.by_task(names), {}
    for i, (name, part) in enumerate(zip(names, final.parts, strict=True)):
        low, high = part.interval()
        own = scale.tasks[i].normalise(part.mean) if isinstance(scale, Scales) else None
        numbers = {"score": part.mean, "interval": [low, high], "normalised": own, "episodes": len(part.returns)}
        told[name] = {**numbers, "reference": references[name]}
    return {"tasks": told}


def _priors(prepared: Prepared, reference: Reference, data: Dataset | None) -> dict[str, Any]:
    """The hashes of what a run stands on, and the env steps that it cost, where that is known; its whole ancestry."""
    run, teacher, agent = prepared.run, prepared.teacher, prepared.agent
    addresses = {"teacher": run.teacher, "data": run.data, "weights": run.weights}
    asked, score = "teacher" in run.method.needs, reference.summary()["teacher"]
    taught = teacher is not None and ("teacher" in run.method.needs or (data is not None and run.data is None))
    return {
        "teacher": teacher.card.sha256 if teacher else None,
        "data": data.id if data else None,
        "weights": agent.sha256 if agent else None,
        "data_env_steps": data.transitions if data else 0,
        "uses_teacher": taught,  # not only as the scale
        "teacher_trained_env_steps": teacher.card.trained_env_steps if teacher and taught else None,
        "weights_trained_env_steps": agent.about.get("env_steps") if agent else None,
        **origin(prepared.spec, addresses, teacher, asked, data, agent, score),
    }
