"""What a person sees of a run while it trains: how far it is, how quick, and its newest numbers."""

import time
from collections.abc import Mapping
from typing import Any

from reincarnate.priors.played import Tick
from reincarnate.training.training import Training
from reincarnate.types import Phase

SHOWN = {"score": "score {:.4g}", "return": "return {:.4g}", "weight": "λ {:.2g}", "agreement_teacher": "agrees {:.0%}"}


class Ticker:
    """Progress in units of a phase, not more often than is worth drawing; with words, where `tick` has `said`."""

    def __init__(self, training: Training, tick: Tick, latest: Mapping[str, Any], every: float = 0.2):
        self._training, self._tick, self._latest, self._every, self._last = training, tick, latest, every, 0.0
        self._began: tuple[str, float, int] = ("", 0.0, 0)  # a phase, when this process came to it, how far it was

    def __call__(self, phase: Phase) -> None:
        """Tell how far it is, if that is due."""
        now = time.perf_counter()
        if now - self._last <= self._every:
            return
        self._last = now
        at = self._training.at
        done, total = (at.phase_updates, phase.updates) if phase.offline else (at.phase_env_steps, phase.env_steps)
        if self._began[0] != phase.name:
            self._began = (phase.name, now, done)
        unit = "updates" if phase.offline else "env steps"
        if hasattr(self._tick, "said"):
            rate = (done - self._began[2]) / max(now - self._began[1], 1e-9)
            self._tick.said = words(self._latest, rate, unit)  # pyright: ignore[reportFunctionMemberAccess]
        self._tick(f"{phase.name} {unit}", done, total)


def words(latest: Mapping[str, Any], rate: float, unit: str) -> str:
    """The newest score, return, λ, agreement and loss, as far as there are any, and the speed."""
    parts = [form.format(latest[key]) for key, form in SHOWN.items() if latest.get(key) is not None]
    loss = next((name for name in latest if name.startswith("loss_")), None)
    parts += [f"{name_of(loss)} {latest[loss]:.3g}"] if loss else []
    return ", ".join([*parts, f"{rate:,.0f} {unit}/s"] if rate else parts)


def name_of(loss: str) -> str:
    """A loss's name for people: loss_td is "loss td"."""
    return loss.replace("_", " ")
