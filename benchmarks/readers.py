"""How fast Dopamine's replay becomes a dataset of ours: against `gzip -dc` of the same files, which only unpacks them.

    python benchmarks/readers.py                 # a million rows, 7 GB unpacked, as Dopamine saves them; writes JSON
    python benchmarks/readers.py --rows 200000

The files hold screens of ALE/Breakout-v5 under random play, 5000 of them over and over (deflate looks back 32 kB, so it
cannot notice), compressed at level 9 as Dopamine does, in a ring that has wrapped around in the middle of an episode.
Importing unpacks, drops padding, puts episodes in order, writes the columns and hashes them; it unpacks in one
thread and does the rest in another, where gzip has one. Sides alternate, each repeat in a process of its own; the
dataset of one repeat is deleted before the next.
"""

import argparse
import gzip
import json
import pickle
import resource
import struct
import subprocess
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import harness
import numpy as np

GAME, TILE, EPISODE, PADDING = "ALE/Breakout-v5", 5000, 1000, 3
COLUMNS = ("observation", "action", "reward", "terminal")


def tile() -> dict[str, np.ndarray]:
    """Rows of whole episodes, turned so that they begin in the middle of one."""
    from reincarnate import envs

    env, rng = envs.make(GAME, 20), np.random.default_rng(0)
    obs, frames = env.reset(rng), []
    for _ in range(TILE // env.n):
        frames.append(obs[:, -1].copy())
        obs = env.step(rng.integers(env.spec.actions, size=env.n)).obs
    env.close()
    at = np.arange(TILE) % EPISODE
    columns = {
        "observation": np.stack(frames, 1).reshape(TILE, 84, 84),
        "action": rng.integers(env.spec.actions, size=TILE, dtype=np.int32),
        "reward": rng.integers(-1, 2, TILE).astype(np.float32),
        "terminal": (at == EPISODE - 1).astype(np.uint8),
    }
    for column in columns.values():
        column[at < PADDING] = 0
    return {name: np.roll(column, EPISODE // 2, axis=0) for name, column in columns.items()}


def write_over_and_over(path: Path, part: np.ndarray, times: int) -> None:
    """gzip(np.save(part, `times` over)), the part compressed only once, as one stream."""
    header = np.lib.format.magic(1, 0)
    fields = (
        f"{{'descr': {part.dtype.str!r}, 'fortran_order': False, 'shape': {(len(part) * times, *part.shape[1:])!r}, }}"
    )
    header += struct.pack("<H", 118) + fields.encode().ljust(117) + b"\n"
    crc = zlib.crc32(header)
    with open(path, "wb") as file:
        file.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + deflated(header))
        body, raw = deflated(part.tobytes()), part.tobytes()
        for _ in range(times):
            file.write(body)
            crc = zlib.crc32(raw, crc)
        end = zlib.compressobj(9, zlib.DEFLATED, -15).flush(zlib.Z_FINISH)
        file.write(end + struct.pack("<II", crc, (len(header) + len(raw) * times) % 2**32))


def deflated(raw: bytes) -> bytes:
    """Compressed so that the same bytes may follow."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(raw) + squeeze.flush(zlib.Z_FULL_FLUSH)


def write_replay(folder: Path, rows: int) -> None:
    part, times = tile(), rows // TILE
    for name in COLUMNS:
        write_over_and_over(folder / f"$store$_{name}_ckpt.0.gz", part[name], times)
    with gzip.open(folder / "add_count_ckpt.0.gz", "wb") as file:
        np.save(file, np.array(rows + rows // 3))
    ends = np.flatnonzero(np.tile(part["terminal"], times))
    with gzip.open(folder / "episode_end_indices_ckpt.0.gz", "wb") as file:
        pickle.dump(set(ends), file)


def unpacked(folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    for path in sorted(folder.glob("*.gz")):
        subprocess.run(["gzip", "-dc", path], stdout=subprocess.DEVNULL, check=True)
    return {"seconds": time.perf_counter() - started}


def imported(folder: Path) -> dict[str, Any]:
    from reincarnate import envs
    from reincarnate.data.readers import import_data

    spec = envs.spec(GAME)
    with tempfile.TemporaryDirectory(dir=folder) as store:
        started = time.perf_counter()
        dataset = import_data(f"dopamine:{folder}", spec, Path(store), lambda *_: None)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "transitions": dataset.transitions, "peak_mb": round(peak / 1024)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help=f"of the replay, a multiple of {TILE}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files go for the while; twice 7 GB for a million rows")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--cell", nargs=2, help="one repeat, as the others run it")
    args = parser.parse_args()
    if args.cell:
        side, folder = args.cell
        print(json.dumps((unpacked if side == "gzip -dc" else imported)(Path(folder))))
        return
    rows = max(1, args.rows // TILE) * TILE
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write_replay(Path(folder), rows)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())

        def measurer(side: str):
            return lambda: harness.fresh("readers.py", "--cell", side, folder, threads=1)

        sides = harness.table(
            harness.alternate({side: measurer(side) for side in ("gzip -dc", "import")}, args.repeats)
        )
    speed = harness.ratio(sides["gzip -dc"]["seconds"], sides["import"]["seconds"])
    seconds = {side: sides[side]["seconds"]["median"] for side in sides}
    print(f"{rows:,} rows: gzip -dc {seconds['gzip -dc']:.3g} s, import {seconds['import']:.3g} s, "
          f"{speed['of_medians']} of its speed, peak {sides['import']['peak_mb']['median']} MB")  # fmt: skip
    setup = {"rows": rows, "compressed_mb": round(size / 1e6), "repeats": args.repeats}
    results = {**setup, "sides": sides, "import's speed over gzip's": speed}
    harness.write(args.out, "readers.py", "seconds for all files", results)


if __name__ == "__main__":
    main()
