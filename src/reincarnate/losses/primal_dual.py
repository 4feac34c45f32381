"""Deep primal-dual learning of a policy (Cho & Wang, 2017): the relaxed Lagrangian of the linear Bellman program.

min over v, max over π of (1−γ)v(s_0) + E[δ] + c·E[δ²], δ = r + γv(s') − v(s), with the data's visits for the dual
variable's. Without the linear part the value step is residual-gradient TD; see `docs` for what each part buys.
"""

from jaxtyping import Float
from torch import Tensor

Each = Float[Tensor, "*L"]


def advantage(reward: Each, discount: Each, value: Each, next_value: Each) -> Each:
    """δ = r + γ(1−d)v(s') − v(s). The gradient goes through v(s') too: detached, this is no longer the Lagrangian."""
    return reward + discount * next_value - value


def value_loss(delta: Each, start_value: Each, gamma: float, linear: float = 1.0, penalty: float = 1.0) -> Each:
    """linear·((1−γ)v(s_0) + δ) + c·δ², c = `penalty`. `linear` = 0 leaves residual-gradient TD.

    `start_value` is v of the episode's first observation, or v(s), as the public implementation has it. δ² of one
    sample is biased where the environment is random (double sampling): deterministic tasks only.
    """
    return linear * ((1 - gamma) * start_value + delta) + penalty * delta.square()


def policy_loss(log_prob: Each, delta: Each) -> Each:
    """−ln π(a|s)·δ, with δ computed anew after the value step and without gradient."""
    return -log_prob * delta.detach()
