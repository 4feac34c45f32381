"""Several tasks, their teachers and populations: what cannot be is one line, exit code 2, and nothing is written."""

from pathlib import Path

import pytest

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.methods import Scratch
from reincarnate.run.execute import execute_together
from reincarnate.run.settings import Run
from reincarnate.seeds import MOST

TWO = "--env CartPole-v1,Acrobot-v1"
RULE = "import torch\ndef lean(obs): return torch.zeros(len(obs), 2)\n"
SEEN = """
import torch
class Seen:
    card = {"obs_shape": (7,), "actions": 2}
    def __call__(self, obs): return torch.zeros(len(obs), 2)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rule.py").write_text(RULE)
    Path("seen.py").write_text(SEEN)


@pytest.mark.parametrize(
    "words, said",
    [
        ("actor_mimic --env CartPole-v1,Pendulum-v1 --teacher x", "Pendulum-v1 has continuous actions"),
        ("actor_mimic --env CartPole-v1,MinAtar/Breakout-v1 --teacher x", "cannot be played side by side"),
        ("actor_mimic --env MinAtar/Breakout-v1,ALE/Pong-v5 --teacher x", "cannot be played side by side"),
        ("actor_mimic --env CartPole-v1,CartPole-v1 --teacher x", "names CartPole-v1 twice"),
        (f"actor_mimic {TWO}", "actor_mimic needs a --teacher"),
        (f"actor_mimic {TWO} --teacher py:rule.py:lean", "several tasks have a teacher each"),
        (f"actor_mimic {TWO} --teacher CartPole=py:rule.py:lean", "names none for Acrobot-v1"),
        (f"actor_mimic {TWO} --teacher CartPole=py:rule.py:lean,Acrobot=py:gone.py:lean", "gone.py"),
        (f"actor_mimic {TWO} --teacher CartPole=py:seen.py:Seen,Acrobot=py:rule.py:lean", "does not fit CartPole-v1"),
        (f"actor_mimic {TWO} --teacher CartPole=py:rule.py:lean,CartPole=py:rule.py:lean", "two teachers for"),
        (f"scratch {TWO} --envs 3", "--envs 3 cannot be shared by 2 tasks"),
        ("scratch --env CartPole-v1 --population 1 --exchange gossip", "needs somebody to gossip with"),
        ("scratch --env CartPole-v1 --population 1 --exchange pbt", "needs a population"),
        ("scratch --env CartPole-v1 --population 0 --exchange gossip", "--population must be at least 1"),
        ("scratch --env CartPole-v1 --population 2", "needs an --exchange"),
        ("scratch --env CartPole-v1 --population 1e9 --exchange pbt", "--population 1000000000 is too many"),
        ("scratch --env CartPole-v1 --threads 99999999999", "--threads 99999999999 is too many; at most 1,024"),
        ("scratch --env CartPole-v1 --envs 1e15", "--envs 1000000000000000 is too many"),
        ("scratch --env CartPole-v1 --env-steps 1e30", "is too much; at most 1,000,000,000,000,000"),
        ("scratch --env CartPole-v1 --eval-episodes 1e30", "--eval-episodes 1000000000000000019884624838656 is too"),
        ("scratch --env CartPole-v1 --student.hidden 64,1e30", "--student.hidden 1000000000000000019884624838656 is"),
        ("scratch --env CartPole-v1 --student.hidden 1e15", "do not fit into memory: make --student.hidden, or"),
        (
            "scratch --env CartPole-v1 --student rainbow --student.atoms -5",
            "--student.atoms -5 is too small; at least 2",
        ),
        (
            "scratch --env CartPole-v1 --student qrdqn --student.quantiles 1e18",
            "--student.quantiles 1000000000000000000",
        ),
        (
            "scratch --env CartPole-v1 --student r2d2 --student.memory-layers 1e9",
            "--student.memory-layers 1000000000 is",
        ),
        ("scratch --env Pendulum-v1 --student sac --student.simba 1e9", "--student.simba 1000000000 is too many; at"),
        ("scratch --env CartPole-v1 --student.replay-size 1e30", "--student.replay-size 1000000000000000019884624838"),
        ("pretrain --env CartPole-v1 --teacher py:rule.py:lean --offline-updates 1e30", "--offline-updates 100000000"),
        ("scratch --env CartPole-v1 --seeds 0", "--seeds must be at least 1"),
        ("scratch --env CartPole-v1 --seeds 10001 --together on", "--seeds 10001 is too many: at most 10,000"),
        ("scratch --env CartPole-v1 --seeds 1e30", "is too many: at most 10,000"),
        (
            "scratch --env CartPole-v1 --population 2 --exchange gossip --exchange.topology exponential",
            "needs 3 members or more, not 2",
        ),
        ("scratch --env CartPole-v1 --population 2 --exchange gossip --exchange.tau -1", "tau at least 0"),
        (
            "scratch --env CartPole-v1 --population 2 --exchange gossip --exchange.processes ray --exchange.arrives 0.5",
            "those in their own keep their own pace",
        ),
        ("scratch --env CartPole-v1 --student.decorrelate -1", "--student.decorrelate -1.0 is too small"),
        ("kickstart --env CartPole-v1 --teacher prior:nothing", "there is no bundle 'nothing'"),
        (
            "bc --env CartPole-v1 --student ppo --data prior:minatar-breakout-dqn",
            "are of MinAtar/Breakout-v1, not of CartPole-v1",
        ),
        ("finetune --env CartPole-v1 --weights prior:cartpole-dqn-sb3", "priors fetch cartpole-dqn-sb3"),
        (
            "finetune --env MinAtar/Breakout-v1 --weights prior:minatar-breakout-dqn --population 2 --exchange gossip",
            "--population 2 cannot be: students that start from weights",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", *words.split(), "--out", "run"])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and said in told and told.count("error:") == 1
    assert "Traceback" not in told and not Path("run").exists()


def test_more_runs_together_than_a_record_can_name_are_refused_before_any_has_a_folder():
    runs = [Run("CartPole-v1", Scratch())] * (MOST + 1)
    with pytest.raises(UserError, match=r"10001 is too many: at most 10,000"):
        execute_together(runs, [f"runs/s{i}" for i in range(len(runs))])
    with pytest.raises(UserError, match="population 10001 is too many"):
        Run("CartPole-v1", Scratch(), population=MOST + 1).members()
    assert not Path("runs").exists()
