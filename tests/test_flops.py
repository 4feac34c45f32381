"""Operations are counted as torch counts them, and counting them costs no run the import of a compiler."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from reincarnate import envs
from reincarnate.nets.flops import Counter
from reincarnate.students import STUDENTS
from reincarnate.types import TimeStep


@pytest.mark.parametrize(
    "name, more", [("iqn", {}), ("ppo", {"memory": "gtrxl"}), ("dqn", {"memory": "lstm", "unroll": 4})]
)
def test_operations_are_counted_as_torch_counts_them(name, more):
    spec = envs.spec("MinAtar/Breakout-v1")
    settings = STUDENTS[name](**more)
    policy = settings.policy(spec, settings.network(spec))
    step = TimeStep(torch.zeros(2, *spec.obs_shape, dtype=torch.bool), torch.zeros(2, dtype=torch.bool))
    with torch.no_grad(), Counter() as counter:
        policy.predict(step, policy.initial(2))
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        policy.predict(step, policy.initial(2))
    assert counter.total == theirs.get_total_flops() > 0


RUN = """
import sys
import reincarnate as rc
few = dict(env_steps=60, evaluations=1, eval_episodes=1, final_episodes=1, reference_episodes=2, data_env_steps=40)
student = rc.DQN(hidden=(4,), warmup=20, batch_size=4)
rc.execute(rc.Run("CartPole-v1", rc.QDagger(offline_updates=4), student, "py:rule.py:lean", **few), "run")
assert "torch._dynamo" not in sys.modules, "torch's compiler was imported and not used"
"""
RULE = "import torch\ndef lean(obs):\n    return torch.stack([-obs[:, 2], obs[:, 2]], 1)\n"


def test_a_run_that_compiles_nothing_does_not_import_the_compiler(tmp_path):
    (tmp_path / "rule.py").write_text(RULE)
    subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, check=True, capture_output=True)


def test_a_batch_of_a_whole_rollout_costs_as_many_operations_as_it_has_steps():
    spec = envs.spec("CartPole-v1")
    for name in ("a2c", "primal_dual"):
        student = STUDENTS[name]().newborn(spec, 0)
        each = [student.cost(copies).online / student.settings.pace(copies).batch for copies in (1, 8, 32)]
        assert each[0] == each[1] == each[2]
