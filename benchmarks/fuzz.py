"""Ten thousand damaged files for every importer: each is opened or refused in one line; writes fuzz.json beside itself.

python benchmarks/fuzz.py [--trials 10000] [--only NAME …]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from fuzz_targets import TARGETS  # noqa: E402
from fuzzing import fuzz  # noqa: E402

SHARE = 1000  # trials of one process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--out", type=Path, default=HERE / "fuzz.json")
    args = parser.parse_args()
    rows = json.loads(args.out.read_text()) if args.out.exists() else {}
    for name in args.only:
        rows[name] = contest(name, args.trials)
        args.out.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
        print(name, rows[name], flush=True)


def contest(name: str, trials: int) -> dict:
    """Counts of one importer, and how long they took."""
    begun, found = time.time(), {}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        made.mkdir()
        target = TARGETS[name](made)
        for seed in range(-(-trials // SHARE)):
            for end, count in fuzz(target, min(SHARE, trials - seed * SHARE), seed, Path(folder)).items():
                found[end] = found.get(end, 0) + count
    return {**found, "trials": trials, "seconds": round(time.time() - begun)}


if __name__ == "__main__":
    main()
