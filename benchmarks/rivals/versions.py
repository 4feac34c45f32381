"""The versions of the packages that matter in the virtual environment this runs in, as JSON."""

import json
from importlib.metadata import PackageNotFoundError, version

NAMES = "torch torchrl tensordict jax flax sbx-rl stable-baselines3 dopamine-rl tensorflow-cpu gymnasium ale-py numpy"


def main() -> None:
    found = {}
    for name in NAMES.split():
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    print(json.dumps(found))


if __name__ == "__main__":
    main()
