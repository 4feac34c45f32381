"""An SB3 agent that goes on: the student that fits it, with its networks, target networks, α, optimisers' memories."""

from typing import Any

from reincarnate.agents.imported import Imported
from reincarnate.errors import UserError
from reincarnate.students.families import DQN, QRDQN
from reincarnate.teachers.sb3 import hyper, pairs
from reincarnate.teachers.sb3.format import SavedAgent
from reincarnate.teachers.sb3.moments import read_memory
from reincarnate.teachers.sb3.off_policy import continuous
from reincarnate.teachers.sb3.on_policy import policy
from reincarnate.teachers.sb3.start import (
    BESIDE,
    Source,
    Start,
    activation,
    finite,
    lost,
    moments,
    names,
    take,
    widths,
)
from reincarnate.types import TaskSpec

KNOWN = "DQN, QR-DQN, PPO, A2C, TRPO, SAC, TQC, CrossQ, TD3 and DDPG"
DTYPES = ("float32", "float64", "uint8", "int64", "int32", "bool")


def imported(source: Source) -> Imported:
    """The agent in a zip as one of ours. UserError: of a kind or shape that no student has; it says which."""
    saved = source.saved
    build = {"DQN": _value, "QR-DQN": _value, "PPO": policy, "A2C": policy, "TRPO": policy}
    build |= dict.fromkeys(("SAC", "TQC", "CrossQ", "TD3", "DDPG"), continuous)
    if saved.algorithm not in build:
        why = "it has no critic" if saved.algorithm == "ARS" else "its networks are none of the students'"
        raise UserError(
            f"{source.path}: agents of {saved.algorithm} cannot go on ({why}); it can be a --teacher. {KNOWN} can go on"
        )
    try:
        _refuse_pixels(saved)
        start = build[saved.algorithm](source)
        start.settings.check(start.settings.copies)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from None
    held = {"lagging": bool(start.lagging), "optimizer": bool(start.moments)}
    agent = Imported(
        path=source.path,
        student=start.settings,
        spec=_spec(source),
        sha256=source.card.sha256,
        about={"env_steps": saved.env_steps, "imported": f"{saved.algorithm}, {source.card.format}"},
        kept={name: source.card.sha256 for name, there in held.items() if there},
        card=source.card,
        tensors=start.tensors,
        lagging=start.lagging,
        moments=start.moments,
        said=start.said,
    )
    agent.network()  # raises where shapes differ
    return agent


def _spec(source: Source) -> TaskSpec:
    """The task as far as the zip tells; its protocol is unknown."""
    saved, card = source.saved, source.card
    stack = saved.obs_shape[0] if len(saved.obs_shape) == 3 else 1
    dtype = saved.obs_dtype if saved.obs_dtype in DTYPES else "float32"
    bounds = (saved.continuous.low, saved.continuous.high) if saved.continuous else None
    return TaskSpec(card.env or "its task", saved.obs_shape, dtype, saved.actions, stack, None, {}, bounds)


def _refuse_pixels(saved: SavedAgent) -> None:
    """Students divide bytes by 255 and know images in stacks of screens; nothing else."""
    if saved.chosen:
        raise UserError(f"not supported: actions of {len(saved.chosen.choices)} choices; it can be a teacher")
    if any(entry.image for entry in saved.entries):
        raise UserError("not supported: images in a Dict, which students see as one row; it can be a teacher")
    if (saved.obs_dtype == "uint8") != saved.divide_by_255:
        how = "divided by 255" if saved.divide_by_255 else "as they are"
        raise UserError(f"not supported: it sees {saved.obs_dtype} observations {how}; students divide bytes alone")
    if len(saved.obs_shape) not in (1, 3) or saved.obs_shape[0] < 2 < len(saved.obs_shape):
        raise UserError(f"not supported: students do not see observations {saved.obs_shape}")


def _value(source: Source) -> Start:
    saved, data, tensors = source.saved, source.data, source.tensors
    if source.statistics:
        raise UserError("its observations are normalised by statistics, which value students have none of")
    net = "quantile_net" if saved.quantiles > 1 else "q_net"
    images = any(name.startswith(f"{net}.features_extractor.cnn") for name in tensors)
    *hidden, _ = widths(tensors, f"{net}.{net}.")
    wanted = pairs.value(len(hidden), saved.quantiles, images)
    if images:
        hidden.insert(0, len(tensors[f"{net}.features_extractor.linear.0.weight"]))
    if not hidden:
        raise UserError("not supported: a network without hidden layers")
    own, target = names(tensors, f"{net}."), f"{net}_target."
    memory = read_memory(source.members.get(BESIDE[0]), tensors, [own, list(tensors)])
    kept = moments(memory if memory and memory.kind == "adam" else None, wanted, "")
    kind = QRDQN if saved.quantiles > 1 else DQN
    told, pace = hyper.numbers(data, hyper.VALUE), hyper.rhythm(data)
    read: dict[str, Any] = {"n_step": 1, **told, **pace, **hyper.target_updates(data, pace)}
    read |= activation(saved, len(hidden) - images, images)
    read |= {"quantiles": saved.quantiles} if saved.quantiles > 1 else {}
    settings = kind(hidden=tuple(hidden), adam_eps=memory.eps if memory and memory.eps else 1e-8, **read)
    there = any(name.startswith(target) for name in tensors)
    lagging = finite(take(wanted, tensors, f"{net}.", target)) if there else {}
    said = (*hyper.schedule_note(data, told, settings.lr, memory.lr if memory else None), *lost(kept))
    return Start(settings, finite(take(wanted, tensors)), lagging, kept, said)
