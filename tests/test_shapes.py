"""The check of shapes checks: a wrong one is refused among the first calls of each test."""

import pytest
import shapes
import torch
from jaxtyping import TypeCheckError

from reincarnate.losses.actor_critic import bootstrapped


@pytest.mark.parametrize("run", ["at first", "after many calls elsewhere"])
def test_a_shape_that_clashes_is_refused_in_every_test(run):
    with pytest.raises(TypeCheckError, match="bootstrapped"):
        bootstrapped(torch.zeros(3), torch.zeros(4), torch.zeros(3))
    for _ in range(shapes.CALLS + 1):
        bootstrapped(torch.zeros(3), torch.zeros(3), torch.zeros(3))
