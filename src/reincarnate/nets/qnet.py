"""Value networks: a torso and a head. Layer names are stable: agents are read back for years (`docs/formats.md`)."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.losses import distributions
from reincarnate.nets import memory as memories
from reincarnate.nets.activations import Activation
from reincarnate.nets.keyed import LEAST_SCREEN, screens_in
from reincarnate.nets.noisy import NoisyLinear
from reincarnate.nets.precision import through
from reincarnate.nets.torsos import TORSOS, GridImpalaCNN, Linear, TorsoName, usual_hidden
from reincarnate.types import TaskSpec

EMBEDDING = 64  # cosines, Dabney et al. (2018b)


@runtime_checkable
class Architecture(Protocol):
    """The settings of a student that shape its network."""

    @property
    def torso(self) -> TorsoName: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def width(self) -> int: ...
    @property
    def layer_norm(self) -> bool: ...
    @property
    def noisy(self) -> bool: ...
    @property
    def dueling(self) -> bool: ...
    @property
    def bfloat16(self) -> bool: ...
    @property
    def activation(self) -> Activation: ...


@runtime_checkable
class Head(Protocol):
    """What of a critic shapes the network: numbers per action, and whether it is asked at fractions (IQN)."""

    @property
    def outputs(self) -> int: ...
    @property
    def implicit(self) -> bool: ...


class QNetwork(nn.Module):
    """A torso and a head: [B, A], or [B, A, K] with K > 1 numbers per action.

    The head may be dueling (Wang et al., 2016, eq. 9; distributions: Hessel et al., 2018), on each of the K apart.
    With a memory between torso and head it is asked by `recall`, not by its forward pass.
    """

    def __init__(
        self,
        torso: nn.Module,
        actions: int,
        outputs: int,
        dueling: bool,
        linear: Linear,
        half: bool = False,
        memory: nn.Module | None = None,
    ):
        nn.Module.__init__(self)
        self.torso, self.outputs, self.in_bfloat16, self.memory = torso, outputs, half, memory
        features: int = (memory or torso).features  # pyright: ignore
        self.advantage = linear(features, actions * outputs)
        self.value = linear(features, outputs) if dueling else None

    def forward(self, obs: Tensor, both: bool = False) -> Float[Tensor, "B A *K"] | tuple[Tensor, Tensor]:
        """With `both` also the features [B, F] that the head reads."""
        features = through(self.torso, obs, self.in_bfloat16)
        out = self.read(features)
        return (out, features) if both else out

    def read(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B A *K"]:
        """The head alone."""
        out = self._by_action(self.advantage(features))
        if self.value is not None:
            out = out - out.mean(1, keepdim=True) + self._by_action(self.value(features))
        return out

    def _by_action(self, x: Float[Tensor, "B AK"]) -> Float[Tensor, "B A *K"]:
        return x if self.outputs == 1 else x.unflatten(-1, (-1, self.outputs))


class ImplicitQNetwork(nn.Module):
    """IQN's network (Dabney et al., 2018b): features ⊙ ReLU(linear(cosines of τ)), a layer, a value per action.

    The torso is the network without its last hidden layer, which follows the product, as in the paper. With a memory
    between torso and product it is asked by `recall`, not by its forward pass.
    """

    def __init__(
        self,
        torso: nn.Module,
        hidden: int,
        actions: int,
        dueling: bool,
        linear: Linear,
        half: bool = False,
        memory: nn.Module | None = None,
    ):
        nn.Module.__init__(self)
        self.torso, self.in_bfloat16, self.memory = torso, half, memory
        features: int = (memory or torso).features  # pyright: ignore
        self.embedding = nn.Linear(EMBEDDING, features)
        self.fc = linear(features, hidden)
        self.advantage = linear(hidden, actions)
        self.value = linear(hidden, 1) if dueling else None

    def forward(
        self, obs: Tensor, fractions: Float32[Tensor, "B N"], both: bool = False
    ) -> Float[Tensor, "B A N"] | tuple[Tensor, Tensor]:
        """With `both` also the last layer's mean over the fractions [B, F], of which values are a linear function."""
        return self._read(through(self.torso, obs, self.in_bfloat16), fractions, both)

    def read(self, features: Float[Tensor, "B F"], fractions: Float32[Tensor, "B N"]) -> Float[Tensor, "B A N"]:
        """What follows torso and memory."""
        return self._read(features, fractions, False)  # pyright: ignore[reportReturnType]

    def _read(self, features: Tensor, fractions: Tensor, both: bool) -> Tensor | tuple[Tensor, Tensor]:
        x = through(partial(self._last_layer, features), fractions, self.in_bfloat16)
        out = self.advantage(x)
        if self.value is not None:
            out = out - out.mean(-1, keepdim=True) + self.value(x)
        out = out.transpose(-1, -2)  # not mT, which ONNX exporters do not know
        return (out, x.mean(1)) if both else out

    def _last_layer(self, features: Tensor, fractions: Tensor) -> Tensor:
        embedded = torch.relu(self.embedding(distributions.cosine_embedding(fractions, EMBEDDING)))
        return torch.relu(self.fc(features[:, None] * embedded))


def recall(
    network: nn.Module, obs: Tensor, begins: Tensor, carry: Float[Tensor, "n H"]
) -> tuple[Float[Tensor, "n *T F"], Float[Tensor, "n H"]]:
    """What a network's head is to read of rows [n, *O], or segments [n, T, *O], and its memory after the last."""
    torso: nn.Module = network.torso  # pyright: ignore
    half = bool(network.in_bfloat16)
    if begins.ndim == 1:
        return network.memory(through(torso, obs, half), begins, carry)  # pyright: ignore
    features = through(torso, obs.flatten(0, 1), half).unflatten(0, begins.shape)
    return network.memory(features, begins, carry)  # pyright: ignore


def build(spec: TaskSpec, shape: Architecture, critic: Head, seed: int) -> nn.Module:
    """A fresh value network for a task, initialised from `seed` alone. Raises UserError where torso and task clash."""
    name = shape.torso if shape.torso != "auto" else natural_torso(spec)
    TORSOS.find(name)
    if name != "mlp" and not fits_task(name, spec):
        raise UserError(f"torso {name!r} does not suit the observations {spec.obs_shape} of {spec.id}; use 'auto'")
    if name == "mlp" and shape.width != 1:
        raise UserError("width multiplies convolution filters, and an mlp has none; set its hidden sizes instead")
    if shape.activation != "relu":
        if name != "mlp":
            raise UserError(f"--student.activation {shape.activation}: torso {name!r} has ReLU; it is for mlp alone")
        more = {"activation": shape.activation}
    else:
        more = {}
    hidden, linear = shape.hidden or usual_hidden(name), NoisyLinear if shape.noisy else nn.Linear
    torso_of = torso_maker(name, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if critic.implicit:
            torso = torso_of(spec.obs_shape, hidden[:-1], shape.layer_norm, linear, shape.width, **more)
            how = (shape.dueling, linear, shape.bfloat16, _memory(torso, shape))
            return ImplicitQNetwork(torso, hidden[-1], spec.actions, *how)
        torso = torso_of(spec.obs_shape, hidden, shape.layer_norm, linear, shape.width, **more)
        how = (shape.dueling, linear, shape.bfloat16, _memory(torso, shape))
        return QNetwork(torso, spec.actions, critic.outputs, *how)


def _memory(torso: nn.Module, shape: Architecture) -> nn.Module | None:
    """The memory that the settings ask for, if they can ask and do."""
    if not isinstance(shape, memories.Remembering) or shape.memory == "none":
        return None
    return memories.build(torso.features, shape)  # pyright: ignore


def torso_maker(name: TorsoName, spec: TaskSpec) -> Callable[..., Any]:
    """What makes a torso for a task, of (observation's shape, hidden sizes, layer norm, linear, width)."""
    if name == "keyed":
        return partial(TORSOS[name], screens=screens_in(spec))
    return GridImpalaCNN if name == "impala" and not spec.leads else TORSOS[name]


def natural_torso(spec: TaskSpec) -> TorsoName:
    """What `auto` means for a task."""
    if spec.leads:
        return "nature" if min(spec.obs_shape[1:]) >= LEAST_SCREEN else "impala"
    if len(spec.obs_shape) != 3:
        return "keyed" if screens_in(spec) else "mlp"
    return "screen" if min(spec.obs_shape[:2]) >= LEAST_SCREEN else "minatar"


def fits_task(torso: TorsoName, spec: TaskSpec) -> bool:
    """Whether a torso can see a task's observations: anything flat, grids, or stacks of screens and channels."""
    if torso not in TORSOS.ours:
        return getattr(TORSOS[torso], "fits", lambda _: True)(spec)
    seen_by = {
        "mlp": ("mlp",),
        "minatar": ("mlp", "minatar", "impala"),
        "screen": ("mlp", "minatar", "screen", "impala"),
        "impala": ("mlp", "nature-same", "impala"),
        "keyed": ("mlp", "keyed"),
    }
    return torso in seen_by.get(natural_torso(spec), ("mlp", "nature", "nature-same", "impala"))
