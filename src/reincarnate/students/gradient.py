"""A value student's gradient: losses and targets as pure functions, and one compiled program of them for long runs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad
from torch.fx.experimental.proxy_tensor import make_fx

from reincarnate.losses.log_probs import masked
from reincarnate.losses.terms import OWN_FEATURES, reads_features
from reincarnate.native import compiler
from reincarnate.nets import Flat
from reincarnate.nets.noisy import noise_windows
from reincarnate.nets.stacked import stacked_both, stacked_forward
from reincarnate.students.critics import Arguments, Critic
from reincarnate.types import VALUES, Batch, Learnt, Prediction, Term

Program = Callable[..., tuple[Tensor, ...]]
TENSORS = 5  # fields of a batch that come first and are tensors
OPTIONS = {"cpp_wrapper": True}  # a C++ caller: some 25 µs less than Python's
KERNELS_PAY_AFTER = 5_000  # updates: they take a second or two, once for a machine, and save 0.2 to 0.7 ms an update
PAYS_AFTER = 200_000  # updates: it takes 5 to 25 s a program, and saves 0.03 (Q-learning alone) to 0.3 ms an update


def can_compile() -> bool:
    """Whether there is the C++ compiler that the kernels need, and that TorchInductor will look for."""
    return compiler() is not None


Forward = Callable[..., Tensor]


class Draws(NamedTuple):
    """What is random in one update: arguments of the two networks, and the noise of their noisy layers."""

    online: Arguments = ()
    target: Arguments = ()
    online_noise: Tensor | None = None
    target_noise: Tensor | None = None


def target_of(critic: Critic, batch: Batch, draws: Draws, double: bool, online: Forward, frozen: Forward) -> Tensor:
    """What the taken actions' outputs should become.

    `online` and `frozen` are forward passes of the two networks: observations and arguments to outputs.
    """
    if batch.next_obs is None:
        return critic.target(None, None, batch)
    select, next_out = None, frozen(batch.next_obs, *draws.target)
    if double:
        select = best_action(critic.values(online(batch.next_obs, *critic.at_rest(len(batch.action)))), batch.next_mask)
    elif batch.next_mask is not None:
        select = best_action(critic.values(next_out), batch.next_mask)
    return critic.target(next_out, select, batch)


def best_action(values: Float[Tensor, "B A"], mask: Tensor | None) -> Tensor:
    """The best action of each row, of those that are allowed there."""
    return masked(values, mask).argmax(-1)


def losses_of(
    critic: Critic,
    out: Tensor,
    target: Tensor,
    batch: Batch,
    arguments: Arguments,
    terms: Sequence[Term],
    features: Tensor | None = None,
) -> dict[str, Float[Tensor, "B"]]:
    """Each example's own loss (`td`) and terms, by name, from one forward pass; `features` where a term reads them."""
    each = {"td": critic.loss(out, batch, target, arguments)}
    said = Prediction(VALUES, critic.values(out)) if terms else None
    if features is not None:
        batch = batch._replace(notes={**batch.notes, OWN_FEATURES: features})
    for term in terms:
        assert said is not None
        each[term.name] = term(said, batch)
    return each


def weigh(
    each: dict[str, Float[Tensor, "B"]],
    weights: Sequence[float] | Float[Tensor, "*S L"],
    importance: Float[Tensor, "B"] | None,
    seeds: int = 1,
) -> tuple[Tensor, Learnt]:
    """Σ weight · mean over the batch, and what is to be known of it.

    `importance` (of prioritised replay) multiplies every loss, as in the authors' code; means are reported without.
    With `seeds` > 1 the batch holds that many equal parts, one after another, with a row of weights each.
    """

    def mean(loss: Tensor) -> Tensor:
        return loss.mean() if seeds == 1 else loss.view(seeds, -1).mean(-1)

    means = {name: mean(loss) for name, loss in each.items()}
    weighed = means if importance is None else {name: mean(loss * importance) for name, loss in each.items()}
    columns = weights.unbind(-1) if isinstance(weights, Tensor) else weights
    pairs = zip(columns, weighed.values(), strict=True)
    parts = [m if isinstance(w, float) and w == 1.0 else w * m for w, m in pairs]  # most have no term beside their own
    total: Tensor = sum(parts[1:], parts[0])  # pyright: ignore
    learnt = Learnt({name: m.detach() for name, m in means.items()}, each["td"].detach())
    return (total if seeds == 1 else total.sum()), learnt


class FunctionalGradient:
    """Computes the online network's flat gradient. One program per set of active terms, compiled at its first use.

    With `seeds` > 1 networks and batches are stacks: vectors [S, P], and batches of S equal parts.
    """

    def __init__(self, online: Flat, target: Flat | None, critic: Critic, double: bool, seeds: int = 1):
        self._online, self._target, self._critic, self._double, self._seeds = online, target, critic, double, seeds
        self._programs: dict[Any, Program] = {}

    def __call__(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Tensor) -> Learnt:
        """Fill the gradient; `weights` [L], or [S, L]. Every batch must have the size of the first."""
        active = tuple(terms)
        # an update is short enough for a general way of flattening to be felt
        said = tuple([(name, prediction.kind) for name, prediction in batch.predictions.items()])
        told = [prediction.x for prediction in batch.predictions.values()]
        noted = tuple(batch.notes)
        drawn = (*draws.online, *draws.target, draws.online_noise, draws.target_noise)
        others = (batch.weight, batch.mask, batch.next_mask, batch.task)
        leaves = (*batch[:TENSORS], *others, *told, *batch.notes.values(), *drawn)
        pattern = tuple([leaf is not None for leaf in leaves])
        networks = [self._online.data, self._target.data] if self._target else [self._online.data]
        inputs = [weights, *networks, *[leaf for leaf in leaves if leaf is not None]]
        key = (active, pattern, said, noted)
        with torch.no_grad():
            if key not in self._programs:
                program = self._program(active, pattern, said, noted, len(draws.online))
                # constants (a critic's support) are real tensors
                graph = make_fx(program, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
                self._programs[key] = torch._inductor.compile(graph, inputs, options=OPTIONS)  # pyright: ignore
            gradient, each, *means = self._programs[key](*inputs)
            assert self._online.grad is not None
            self._online.grad.copy_(gradient)
        return Learnt(dict(zip(("td", *(term.name for term in active)), means, strict=True)), each)

    def _program(
        self,
        active: tuple[Term, ...],
        pattern: tuple[bool, ...],
        said: tuple[tuple[str, str], ...],
        noted: tuple[str, ...],
        arguments: int,
    ) -> Program:
        """The gradient as a function of tensors: those of `pattern`, with so many `arguments` for each network.

        `said` names the predictions among them and their kinds, `noted` the notes.
        """
        online, target, critic = self._online, self._target, self._critic

        def program(weights: Tensor, data: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            parameters = online.windows(data)
            frozen = target.windows(rest[0]) if target else parameters
            tensors = iter(rest[1:] if target else rest)
            leaves: list[Any] = [next(tensors) if present else None for present in pattern]
            weight, mask, next_mask, task, *others = leaves[TENSORS:]
            told, drawn = others[: len(said)], others[len(said) + len(noted) :]
            more = {
                "predictions": {name: Prediction(kind, x) for (name, kind), x in zip(said, told, strict=True)},
                "notes": dict(zip(noted, others[len(said) :], strict=False)),
            }
            batch = Batch(*leaves[:TENSORS], weight=weight, mask=mask, next_mask=next_mask, task=task, **more)
            draws = Draws(tuple(drawn[:arguments]), tuple(drawn[arguments:-2]), *drawn[-2:])
            ahead = partial(self._forward, parameters, draws.online_noise)
            behind = partial(self._forward, frozen, draws.target_noise) if target else ahead
            goal = target_of(critic, batch, draws, self._double, ahead, behind)

            def objective(parameters: dict[str, Tensor]):
                forward = self._both if reads_features(active) else self._alone
                out, features = forward(parameters, draws.online_noise, batch.obs, *draws.online)
                each = losses_of(critic, out, goal, batch, draws.online, active, features)
                total, learnt = weigh(each, weights, batch.weight, self._seeds)
                return total, (learnt.each, *learnt.means.values())

            gradients, report = grad(objective, has_aux=True)(parameters)
            return online.join(gradients), *report

        return program

    def _forward(self, parameters: dict[str, Tensor], noise: Tensor | None, obs: Tensor, *arguments: Tensor) -> Tensor:
        module, seeds = self._online.module, self._seeds
        if seeds > 1:
            return stacked_forward(module, parameters, noise, obs, *arguments)
        windows = {} if noise is None else noise_windows(module, noise)
        return functional_call(module, {**parameters, **windows}, (obs, *arguments))

    def _alone(self, parameters: dict[str, Tensor], noise: Tensor | None, *inputs: Tensor) -> tuple[Tensor, None]:
        return self._forward(parameters, noise, *inputs), None

    def _both(self, parameters: dict[str, Tensor], noise: Tensor | None, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and features."""
        module, seeds = self._online.module, self._seeds
        if seeds > 1:
            return stacked_both(module, parameters, noise, *inputs)
        windows = {} if noise is None else noise_windows(module, noise)
        return functional_call(module, {**parameters, **windows}, inputs, {"both": True})
