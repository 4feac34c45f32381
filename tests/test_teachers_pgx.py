"""The reader of pgx's policies: the same numbers as its formulas in NumPy, and one line for what is no such file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from reincarnate import open_teacher
from reincarnate.errors import UserError
from reincarnate.types import TimeStep

SHIPPED = Path(__file__).resolve().parents[1] / "priors" / "minatar-breakout-ppo" / "policy.npz"


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """The shipped policy's parameters."""
    with np.load(SHIPPED) as found:
        return dict(found)


def logits_of(w: dict[str, np.ndarray], obs: np.ndarray) -> np.ndarray:
    """The network cell by cell, as its formulas say: SAME convolution, average pool, channels last."""
    padded = np.pad(obs.astype(np.float64), ((0, 0), (0, 1), (0, 1), (0, 0)))
    kernel, out = w["Conv_0.kernel"].astype(np.float64), np.zeros((len(obs), 10, 10, 32))
    for row in range(10):
        for column in range(10):
            window = padded[:, row : row + 2, column : column + 2]
            out[:, row, column] = np.einsum("nhwc,hwcf->nf", window, kernel) + w["Conv_0.bias"]
    x = np.maximum(out, 0).reshape(-1, 5, 2, 5, 2, 32).mean((2, 4)).reshape(len(obs), -1)
    x = np.maximum(x @ w["Dense_0.kernel"] + w["Dense_0.bias"], 0)
    for name in ("Dense_1", "Dense_2"):
        x = np.tanh(x @ w[f"{name}.kernel"] + w[f"{name}.bias"])
    return x @ w["Dense_3.kernel"] + w["Dense_3.bias"]


def test_a_policy_says_what_its_formulas_say(arrays):
    obs = np.random.default_rng(0).random((50, 10, 10, 4)) < 0.2
    teacher = open_teacher(f"pgx:{SHIPPED}")
    step = TimeStep(torch.from_numpy(obs), torch.zeros(50, dtype=torch.bool))
    said, _ = teacher.predict(step, teacher.initial(50))
    assert said.kind == "logits"
    np.testing.assert_allclose(said.x.numpy(), logits_of(arrays, obs), rtol=1e-5, atol=5e-5)  # float32 sums of 800


def test_the_card_knows_the_game_by_channels_and_actions_and_a_bare_path_is_recognised():
    card = open_teacher(str(SHIPPED)).card
    assert (card.env, card.obs_shape, card.actions, card.tells) == ("MinAtar/Breakout-v1", (10, 10, 4), 3, "logits")
    assert card.uri == f"pgx:{SHIPPED}" and not card.warnings


BROKEN = {
    "no array 'Dense_3.bias'": lambda w: w.pop("Dense_3.bias"),
    r"Dense_1.kernel is \[64, 64, 1\]": lambda w: w.update({"Dense_1.kernel": w["Dense_1.kernel"][..., None]}),
    r"Dense_2.kernel is \[63, 64\]": lambda w: w.update({"Dense_2.kernel": w["Dense_2.kernel"][1:]}),
    r"Conv_0.kernel is \[1, 2, 4, 32\]": lambda w: w.update({"Conv_0.kernel": w["Conv_0.kernel"][:1]}),
    "Dense_0 holds numbers that are not finite": lambda w: w["Dense_0.bias"].__setitem__(3, np.nan),
    "Dense_3.bias is int64": lambda w: w.update({"Dense_3.bias": np.zeros(3, np.int64)}),
}


@pytest.mark.parametrize("said", BROKEN)
def test_arrays_that_are_no_such_policy_are_refused_in_one_line(said, arrays, tmp_path):
    BROKEN[said](arrays)
    np.savez(tmp_path / "policy.npz", **arrays)
    with pytest.raises(UserError, match=said) as error:
        open_teacher(f"pgx:{tmp_path / 'policy.npz'}")
    assert "\n" not in str(error.value)
