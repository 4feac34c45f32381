"""Phases in, trained students out: the one loop that interprets what methods unroll into."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.layouts import Sequences
from reincarnate.data.mixture import Mixture
from reincarnate.envs.checks import Unsound
from reincarnate.envs.vector import begin_together
from reincarnate.errors import UserError
from reincarnate.teachers.features import Features, features_of
from reincarnate.training.asking import as_it_was, of_frozen, of_live, predictor_of
from reincarnate.training.cast import tell_each_other
from reincarnate.training.collector import Collector, Collects, Guided
from reincarnate.training.counting import steps_ahead, updates_due
from reincarnate.training.diagnostics import EXAMPLES
from reincarnate.training.distant import Distant
from reincarnate.training.exchange import Exchange, Quiet
from reincarnate.training.players import Explore, Player, Stage
from reincarnate.training.points import Points
from reincarnate.training.population import Generators, Team
from reincarnate.training.remote_actors import RemoteActors
from reincarnate.training.training import Training, Write
from reincarnate.types import (
    FEATURES,
    NOTHING,
    Actor,
    Batch,
    Objective,
    Phase,
    Policy,
    Prediction,
    Predictor,
    Source,
    VectorEnv,
    Weighing,
)

Tick = Callable[[Phase], None]


class Loop:
    """Trainings that differ in their seed alone, in step; mostly one.

    What they share is the work: one step of all environments, and whatever their team can do in one go. `env` holds
    the copies of all, one training's after another's, or says how many there are where remote actors hold them. An
    exchange between members happens between cycles.
    """

    def __init__(
        self,
        trainings: Sequence[Training],
        teams: Mapping[str, Team],
        env: VectorEnv,
        overlap: bool = False,
        exchange: Exchange | None = None,
        remote: RemoteActors | None = None,
    ):
        self.trainings, self.teams, self.env, self.overlap = list(trainings), teams, env, overlap
        self.first, self.copies = self.trainings[0], env.n // len(trainings)
        self.exchange, self.remote = exchange or Quiet(), remote
        self._enough: set[str] = set()  # of the cast, whose memory has a batch by now
        self._fresh = {name for name, memory in self.first.memories.items() if memory.fresh}
        self._apart = False  # whether those who act have settings of their own
        self._reader: Features | None = None
        self._writes: Sequence[Write] = ()

    def run(self, writes: Sequence[Write], barriers: Sequence[Callable[[], None]], tick: Tick) -> None:
        """Go on to the end. Each training's `writes` are given metrics, its `barriers` called when it may be saved.

        `tick` is called often, for progress bars.
        """
        pairs = list(zip(self.trainings, writes, barriers, strict=True))
        self._writes = writes
        for training, write, barrier in pairs:
            training.start(write, barrier)
        phases = self.first.phases
        while self.first.at.phase < len(phases):
            number = self.first.at.phase
            for training in self.trainings:
                training.refresh(training.phases[number])
            self._segment(number, self._next_stop(phases[number]), tick)
            for training, write, _ in pairs:
                training.judge(training.phases[number], write)
            self.exchange.judged(self.trainings, writes)
            for training, _, barrier in pairs:
                training.pass_on(training.phases[number], barrier)

    def _next_stop(self, phase: Phase) -> int:
        whole = "student" in self._fresh and not phase.offline
        return self.first.at.next_stop(phase, self.first.pace.env_steps if whole else 1)

    # ---- a stretch between two barriers ------------------------------------------------------------

    def _segment(self, number: int, stop: int, tick: Tick) -> None:
        phase, at = self.first.phases[number], self.first.at
        self._enough.clear()
        self.exchange.begin(self.trainings)
        acting = [training.cast[phase.acts].settings for training in self.trainings]
        self._apart = any(settings != acting[0] for settings in acting)
        learn = {name: self._learner(number, name) for name in ("student", *phase.others)}
        points = Points(self.trainings, self._writes, number, stop, partial(self._point, number))
        if phase.offline:
            while at.phase_updates < stop:
                learn["student"](1)
                self.exchange(self.trainings)
                points()
                tick(phase)
            self._diagnose(number)
            return
        collector = self._collector(number)
        try:
            while at.phase_env_steps < stop:
                self._cycle(phase, collector, learn, stop)
                self.exchange(self.trainings)
                points()
                tick(phase)
        except Unsound as error:
            raise UserError(f"{error}; it was after {at.env_steps:,} env steps and {at.updates:,} updates") from error
        finally:
            collector.rest()
        self._diagnose(number)
        self.teams["student"].cut(self.trainings, collector.obs)

    def _collector(self, number: int) -> Collects:
        """Who acts in a stretch: here, or those who hold the copies."""
        if self.remote is not None:
            return self.remote.begin(self.first)
        rngs = [training.stream("act") for training in self.trainings]
        beside = getattr(self.first.student, "beside", None) if self.overlap else None
        return Collector(self._stage(number, rngs), rngs, self.overlap, beside and beside.give_way)

    def _cycle(self, phase: Phase, collector: Collects, learn: Mapping[str, Callable[[int], None]], stop: int) -> None:
        """`pace.env_steps` env steps (at least one of each copy), and the updates they pay for.

        A replay is learnt from as it was before them; what is on-policy is learnt from after them.
        """
        first, n = self.first, self.copies
        before = first.at.phase_env_steps
        steps = self._steps(stop - before)
        explores = [self._exploration(phase, before + i * n) for i in range(steps)]
        spent = min(steps * n, stop - before)
        due = self._due(phase, before, before + spent)
        fresh = self._fresh

        def beside() -> None:
            for name in due.keys() - fresh:
                learn[name](due[name])

        experience = collector.during(explores, beside, self._idle(steps * n - spent))
        if phase.learns or not fresh:
            self.teams["student"].add(self.trainings, experience, collector.obs)
        if fresh:
            newest = sorted(name for name in due.keys() & fresh if self.first.memories[name].ready)
            self._begin(newest)
            self._learn_newest(newest, learn, due)
            for name in (name for name in fresh if self._waits(phase, name, before)):
                for training in self.trainings:
                    training.memories[name].pass_over(training.cast[name])
        for team in self.teams.values():
            team.publish()
        for training, ended in zip(self.trainings, self._returns(collector), strict=True):
            training.played(spent, ended)

    def _exploration(self, phase: Phase, env_steps: int) -> Explore:
        """How much the students explore; each by itself where an exchange gave them settings of their own."""
        if not self._apart:
            return self.first.exploration(phase, env_steps)
        return tuple(training.exploration(phase, env_steps) for training in self.trainings)

    def _steps(self, left: int) -> int:
        """Of each copy in the next cycle; who acts elsewhere takes more of them with the same weights."""
        steps = steps_ahead(self.first.pace, self.copies, left)
        if self.remote is None or self._fresh:
            return steps
        return max(steps, min(self.remote.steps, -(-left // self.copies)))

    def _learn_newest(
        self, names: Sequence[str], learn: Mapping[str, Callable[[int], None]], due: Mapping[str, int]
    ) -> None:
        """Learn from rollouts; who has a process of its own does so while the others do."""
        distant = {name: team for name in names if isinstance(team := self.teams[name], Distant)}
        for name in sorted(names, key=lambda name: name not in distant):
            learn[name](due[name])
        for name, team in distant.items():
            for means in team.wait():
                self.first.learnt(name, means)

    def close(self) -> None:
        """Let environments go, and processes of those who have one."""
        self.env.close()
        if self.remote is not None:
            self.remote.close()
        for team in self.teams.values():
            if isinstance(team, Distant):
                team.close()

    def _idle(self, spare: int) -> np.ndarray | None:
        """Copies of each training that have no part in the last step before a budget is spent."""
        if spare <= 0:
            return None
        return np.tile(np.arange(self.copies) >= self.copies - spare, len(self.trainings))

    def _due(self, phase: Phase, before: int, after: int) -> dict[str, int]:
        """Updates that each student of the cast has to make now."""
        if not phase.learns:
            return {}
        due = {}
        for name in ("student", *phase.others):
            count = updates_due(self.first.pace_of(name), before, after)
            if count and not self._waits(phase, name, before):
                due[name] = count
        return due

    def _waits(self, phase: Phase, name: str, env_steps: int) -> bool:
        """Whether it learns nothing yet, so many env steps into a phase."""
        return not phase.warm and env_steps < self.first.pace_of(name).warmup

    def _returns(self, collector: Collects) -> list[list[float]]:
        found: list[list[float]] = [[] for _ in self.trainings]
        if not collector.finished:
            return found
        for copy, total in collector.finished:
            found[copy // self.copies].append(total)
        collector.finished.clear()
        return found

    def _point(self, number: int, which: int) -> None:
        """See how each student stands within a stretch; not of a rollout, whose lessons are passed in their order."""
        if not self._fresh:
            self._diagnose(number, f"diagnostics {which}")

    def _diagnose(self, number: int, purpose: str = "diagnostics") -> None:
        """See how each student stands as a stretch ends, on a batch that nobody learns from and a stream of its own."""
        for training in self.trainings:
            phase, rng = training.phases[number], training.stream(purpose)
            source = self._source(training, phase, "student") if phase.learns else training.memory
            if isinstance(layout := training.memory.layout, Sequences):  # no batches of lone rows
                if n := min(max(1, EXAMPLES // layout.length), len(source)):
                    training.diagnose_features(source.sample(n, rng))
                continue
            if n := min(EXAMPLES, len(source)):
                batch = self._heard_by_all(training, phase, source.sample(n, rng, self._watched(training, phase)))
                if batch.reward.ndim == 1:
                    training.diagnose(phase, batch, rng)
                else:  # segments
                    training.diagnose_features(batch)
        told = self.exchange.told(self.trainings)
        for training in self.trainings:
            training.observed(told)

    def _watched(self, training: Training, phase: Phase) -> dict[str, Predictor]:
        """What has been kept of a teacher that watches. Any other is asked apart: nothing of it is kept, so that
        training's own asking goes on in the same portions, to the same bits."""
        return {"teacher": self._teacher_of} if training.watches and "teacher" in phase.listens else {}

    def _heard_by_all(self, training: Training, phase: Phase, batch: Batch) -> Batch:
        """The batch with what everybody that the phase listens to says of it, whatever weight that has now."""
        said = dict(batch.predictions)
        for name in phase.objective.listens - said.keys():
            if name in training.live:
                said[name] = of_live(training.live[name], batch, name in training.kept)
            elif name == "teacher" and not training.watches and batch.reward.ndim == 1:
                said[name] = of_frozen(self._teacher_of, batch)
            elif name == FEATURES and batch.reward.ndim == 1:
                said[name] = of_frozen(self._features_of, batch)
        return batch._replace(predictions=said)

    # ---- who acts ----------------------------------------------------------------------------------

    def _stage(self, number: int, rngs: Generators) -> Stage:
        phase = self.first.phases[number]
        actor = self.teams[phase.acts].actor([self._guide(training, number) for training in self.trainings])
        return Stage(self.env, actor, begin_together(self.env, rngs), self._watchers(phase))

    def _guide(self, training: Training, number: int):
        """Who leads the student by the hand: a function from the student to who acts; None where nobody does."""
        phase = training.phases[number]
        if phase.guide is None:
            return None
        assert training.teacher is not None, f"phase {phase.name!r} needs a teacher to guide"
        player = Player.of_teacher(training.teacher, self.env.spec, training.plays)
        guide, rng = phase.guide, training.stream("guide")

        def led(student: Actor) -> Actor:
            return Guided(student, player, guide, lambda: training.at.progress(phase), self.copies, rng)

        return led

    def _watchers(self, phase: Phase) -> dict[str, Policy]:
        """Policies that must see every step as it happens."""
        teacher = self.first.teacher
        return {"teacher": teacher} if teacher and self.first.watches and phase.listens else {}

    # ---- learning ----------------------------------------------------------------------------------

    def _learner(self, number: int, who: str) -> Callable[[int], None]:
        """Makes so many updates of one student of the cast, in every training."""
        rngs = [training.stream("sample" if who == "student" else f"sample {who}") for training in self.trainings]
        phases = [training.phases[number] for training in self.trainings]
        sources = [self._source(t, phase, who) for t, phase in zip(self.trainings, phases, strict=True)]
        weighings = partial(self._weighings, who, phases)
        if all(_objective(phase, who).stands for phase in phases):  # most of the time there is nothing to ask
            standing = weighings()
            weighings = lambda: standing
        return partial(self._learn, who, phases[0].offline, sources, rngs, weighings)

    def _source(self, training: Training, phase: Phase, who: str) -> Source:
        memory = training.memories[who]
        if not phase.offline and not phase.prior_share:
            return memory
        assert training.prior is not None, f"phase {phase.name!r} needs prior data"
        return training.prior if phase.offline else Mixture(training.prior, memory, phase.prior_share)

    def _begin(self, names: Sequence[str]) -> None:
        """Let those of the cast who learn from a rollout now prepare it, and tell each other what they say of it."""
        phases = [training.phases[training.at.phase] for training in self.trainings]
        for name in names:
            weighings = self._weighings(name, phases)
            ask = self._ask(weighings)
            for training, weighing in zip(self.trainings, weighings, strict=True):
                asked = {**ask, **as_it_was(training, weighing)}
                training.memories[name].begin(training.cast[name], asked, weighing)
        if len(names) > 1:
            for training, phase in zip(self.trainings, phases, strict=True):
                objectives = {name: _objective(phase, name) for name in names}
                tell_each_other(training.memories, training.kinds, objectives, phase.acts)

    def _learn(
        self,
        who: str,
        offline: bool,
        sources: Sequence[Source],
        rngs: Generators,
        weighed: Callable[[], Sequence[Weighing]],
        count: int,
    ) -> None:
        team, pace = self.teams[who], self.first.pace_of(who)
        if not offline and (who in self._fresh or who not in self._enough):  # a replay that has enough keeps it
            if any(len(source) < pace.batch for source in sources):
                return
            self._enough.add(who)
        if not offline and who in self._fresh:  # one that a barrier cut is passed as often as any
            count = max(1, round(count * self.first.memories[who].newest / pace.env_steps))
        if isinstance(team, Distant):
            team.begin(count, pace.batch, weighed()[0], rngs[0])
            return
        for _ in range(count):
            weighings = weighed()
            means = team.learn(sources, pace.batch, weighings, rngs, self._ask(weighings), self._hear)
            for training, mean in zip(self.trainings, means, strict=True):
                training.learnt(who, mean)

    def _weighings(self, who: str, phases: Sequence[Phase]) -> list[Weighing]:
        pairs = zip(self.trainings, phases, strict=True)
        return [_objective(phase, who).at(training.at.progress(phase)) for training, phase in pairs]

    def _ask(self, weighings: Sequence[Weighing]) -> Mapping[str, Predictor]:
        """Frozen policies that are listened to now, and how they are asked about stored observations."""
        names = {term.of for weighing in weighings for _, term in weighing.terms}
        if not names:
            return NOTHING
        known = {"teacher": self._teacher_of, FEATURES: self._features_of}
        return {name: predict for name, predict in known.items() if name in names}

    @torch.no_grad()
    def _teacher_of(self, obs: Tensor, task: Tensor | None = None) -> Prediction:
        teacher = self.first.teacher
        assert teacher is not None, "a phase listens to a teacher that is not there"
        return predictor_of(teacher)(obs, task)

    @torch.no_grad()
    def _features_of(self, obs: Tensor, task: Tensor | None = None) -> Prediction:
        if self._reader is None:
            assert self.first.teacher is not None, "a phase follows the features of a teacher that is not there"
            self._reader = features_of(self.first.teacher, self.env.spec)
        return Prediction(FEATURES, self._reader.read(obs, task))

    @torch.no_grad()
    def _hear(self, training: Training, batch: Batch, weighing: Weighing) -> Batch:
        """The batch with what live policies, students of the cast, say of it now."""
        if not weighing.terms:
            return batch
        asked = {term.of for _, term in weighing.terms if term.of} - batch.predictions.keys()
        if not asked:
            return batch
        live, kept = training.live, training.kept
        said = {name: of_live(live[name], batch, name in kept) for name in asked if name in live}
        return batch._replace(predictions={**batch.predictions, **said})


def _objective(phase: Phase, who: str) -> Objective:
    """What one of the cast learns in a phase."""
    return phase.objective if who == "student" else phase.others[who]
