"""What every pair of a method and a student must do: train and leave an agent, or be refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from reincarnate.agents.agent import Agent, open_agent
from reincarnate.errors import UserError
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run


def trains_or_refuses(run: Run, said: str | None, out: Path) -> Agent | None:
    """The agent that a run left; None where it was refused with the words `said`, and nothing was written."""
    if said:
        with pytest.raises(UserError, match=said) as refused:
            execute(run, out)
        assert "\n" not in str(refused.value) and not out.exists()
        return None
    result = execute(run, out)
    assert result["updates"] + result["offline_updates"] > 0 and np.isfinite(result["score"])
    return open_agent(out / "agent")
