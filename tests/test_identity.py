"""What a task is: the code that makes it, whatever that names, and nothing of the process it runs in."""

import functools
import importlib
import os
import subprocess
import sys

import pytest

from reincarnate import envs

NAMED = """
import gymnasium as gym
def pay(action):
    return {reward}
class Mine(gym.Env):
    def step(self, action):
        return pay(action)
make = lambda: Mine()
def made():
    return Mine()
class Holds:
    def __call__(self):
        return made()
holds = Holds()
"""


@pytest.mark.parametrize("named", ["Mine", "make", "made", "holds"])
def test_an_identity_follows_what_the_code_names_in_a_notebook(named):
    def cell(reward):
        scope = {"__name__": "__main__"}
        exec(NAMED.format(reward=reward), scope)
        return envs.identity(scope[named])["code"]

    assert cell(1) == cell(1) != cell(2)


@pytest.mark.parametrize("front", [
    "import far_off\ndef make(): return far_off.Mine()",
    "from far_off import Mine\ndef make(): return Mine()",
    "def make():\n    from far_off import Mine\n    return Mine()",
    "from far_off import made\nclass make:\n    parts = property(lambda self: made())",
])  # fmt: skip
def test_an_identity_follows_what_the_code_names_in_other_modules(front, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def edited(reward):
        (tmp_path / "far_off.py").write_text(NAMED.format(reward=reward))
        for name in ("far_off", "front_task"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return envs.identity("front_task:make")["code"]

    (tmp_path / "front_task.py").write_text(front)

    first, same, other = edited(1), edited(1), edited(20)
    assert first == same != other and {"front_task", "far_off"} <= first.keys()
    assert not {"torch", "numpy", "reincarnate"} & first.keys()


def test_an_identity_is_the_same_in_every_process(tmp_path):
    source = NAMED.format(reward="1.0 if action in {'left', 'right', 'up'} else PAYS.get('a', object)")
    (tmp_path / "far_off.py").write_text(f"PAYS = {{'a': Exception, 'b': {{'x', 'y', 'z'}}}}\n{source}")
    asked = f"{source}\nimport far_off, json\nfrom reincarnate import envs\nPAYS = far_off.PAYS\n"
    asked += "print([envs.identity(one)['code'] for one in (make, Mine, holds, far_off.make)])"
    where = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    told = [
        subprocess.run(
            [sys.executable, "-"],
            input=asked,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": where},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1] and "far_off" in told[0]


def test_code_that_holds_itself_has_an_identity():
    def itself():
        return itself, knot

    knot: list = [itself]
    knot.append(knot)
    scope = {"__name__": "__main__"}  # as typed into `python -`: it has no text, and super() holds the class
    exec("class Mine:\n    def reset(self):\n        super().reset()\n        return Mine", scope)
    for one in (itself, functools.partial(itself, knot), scope["Mine"]):
        assert envs.identity(one) == envs.identity(one)
