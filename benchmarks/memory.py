"""Milliseconds per acting step of each memory, as a table, and what a GTrXL pays for looking back.

    python benchmarks/memory.py                      # writes JSON, prints the table

One thread. "row" is one call of the memory on the newest row of n copies, carry in and carry out, memory filled.
"plain" is one plain forward pass of the same GTrXL weights over that row alone, which looks at nothing else. "segment"
is what acting costs without the row's own way: a segment of one row, keys and values of all remembered rows anew. The
three alternate in one process; processor time of the fastest of so many rounds, so that neighbours disturb least.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness

FEATURES = 64
CASES = {
    "lstm 64": ("lstm", 64, 1, 1, 1),
    "lstm 128": ("lstm", 128, 1, 1, 1),
    "lstm 256": ("lstm", 256, 1, 1, 1),
    "gru 128": ("gru", 128, 1, 1, 1),
    "gtrxl 64, 2 layers, 4 heads, 32 steps": ("gtrxl", 64, 2, 4, 32),
    "gtrxl 128, 4 layers, 4 heads, 128 steps": ("gtrxl", 128, 4, 4, 128),
    "gtrxl 256, 4 layers, 8 heads, 128 steps": ("gtrxl", 256, 4, 8, 128),
}
COPIES = (1, 8, 32)


def cell(case: str, copies: int, rounds: int, calls: int) -> dict[str, Any]:
    import torch

    from reincarnate.nets import memory
    from reincarnate.nets.memory import MemoryShape

    torch.set_num_threads(1)
    torch.manual_seed(0)
    kind, size, layers, heads, length = CASES[case]
    net = memory.build(FEATURES, MemoryShape(kind, size, layers, heads, length))  # pyright: ignore
    x, begins = torch.randn(copies, FEATURES), torch.zeros(copies, dtype=torch.bool)
    carry = torch.randn(copies, net.carry)
    carry[:, -1] = length
    sides: dict[str, Callable[[], Any]] = {"row": lambda: net(x, begins, carry)}
    if kind == "gtrxl":
        sides["plain"] = lambda: plain(net, x)
        sides["segment"] = lambda: net(x[:, None], begins[:, None], carry)
    with torch.inference_mode():
        fastest = race(sides, rounds, calls)
    return {**fastest, "parameters": sum(p.numel() for p in net.parameters()), "carry": net.carry}


def plain(net: Any, x: Any) -> Any:
    """The network over one row that sees itself alone."""
    import torch

    x = net.embed(x)
    for layer in net.layers:
        y = layer.norm1(x)
        query, key, value = (m(y).unflatten(-1, (layer.heads, -1)) for m in (layer.query, layer.key, layer.value))
        place = layer.position(net.waves[-1]).unflatten(-1, (layer.heads, -1))
        score = ((query + net.u) * key).sum(-1, keepdim=True) + ((query + net.v) * place).sum(-1, keepdim=True)
        attention = torch.softmax(score[..., None] * layer.scale, -1)[..., 0]
        x = layer._finish(x, layer.out((attention * value).flatten(1)))
    return x


def race(sides: dict[str, Callable[[], Any]], rounds: int, calls: int) -> dict[str, float]:
    """Milliseconds of processor time per call, the fastest round of each side, sides in turn."""
    fastest = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds + 1):  # the first warms up, and is never the fastest
        for side, call in sides.items():
            start = time.process_time()
            for _ in range(calls):
                call()
            fastest[side] = min(fastest[side], (time.process_time() - start) / calls * 1e3)
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--cell", nargs=2, help="one repeat, as the others run it")
    args = parser.parse_args()
    if args.cell:
        print(json.dumps(cell(args.cell[0], int(args.cell[1]), args.rounds, args.calls)))
        return

    def measurer(case: str, copies: int):
        flags = ("--cell", case, copies, "--rounds", args.rounds, "--calls", args.calls)
        return lambda: harness.fresh("memory.py", *flags, threads=1)

    cells = {f"{case}; n = {n}": measurer(case, n) for case in CASES for n in COPIES}
    rows = harness.table(harness.alternate(cells, args.repeats))
    print("| memory | parameters | row, ms | plain forward, ms | row / plain | as a segment, ms |")
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        if "plain" in row:
            row["row over plain"] = harness.ratio(row["row"], row["plain"])
        others = [row[k]["median"] for k in ("plain", "segment") if k in row] or ["", ""]
        ratio = row.get("row over plain", {}).get("of_medians", "")
        numbers = [row["parameters"]["median"], row["row"]["median"], others[0], ratio, others[1]]
        print(f"| {name} | " + " | ".join(map(str, numbers)) + " |")
    settings = {"features": FEATURES, "repeats": args.repeats, "rounds": args.rounds, "calls": args.calls}
    harness.write(args.out, "memory.py", "ms of processor time per call", {**settings, "cells": rows})


if __name__ == "__main__":
    main()
