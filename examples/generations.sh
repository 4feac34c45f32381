#!/usr/bin/env bash
# Three generations on a MinAtar game, each taught by the one before and of another design: a DQN from scratch (a1), a
# Rainbow reborn from it (a2), a Rainbow with Impala's residual network reborn from that (a3); and what a3 is worth
# beside the same student alone. Ends with the tree of a3 and what it all cost; agents that are there stay.
#   bash examples/generations.sh                          # 100,000 env steps each; try a toy first
#   STEPS=2000 OUT=out/toy bash examples/generations.sh   # to see it work
set -euo pipefail
reincarnate=${REINCARNATE:-reincarnate}
game=${GAME:-Breakout}
steps=${STEPS:-100000}
seed=${SEED:-0}
out=${OUT:-out/generations}

agent() { # name, method, further flags
  if [ -e "$out/$1/done" ]; then return; fi
  if [ -e "$out/$1" ]; then $reincarnate resume "$out/$1"; return; fi
  $reincarnate train "$2" --env "MinAtar/$game-v1" --env-steps "$steps" --data-env-steps $((steps / 2)) --threads 1 --seed "$seed" \
    --student.epsilon-steps $((steps / 10)) --student.lr 2.5e-4 --student.target-every 500 --out "$out/$1" "${@:3}"
}

impala=(--student rainbow --student.torso impala)
# the learning rate stays when λ falls: these teachers are to be surpassed, not kept
reborn=(--offline-updates $((steps / 5)) --wean.guard 0.2 --wean.lr-final 1)

agent a1 scratch
agent a2 qdagger --teacher "store:$out/a1" "${reborn[@]}" --student rainbow
agent a3 qdagger --teacher "store:$out/a2" "${reborn[@]}" "${impala[@]}"
agent a3-alone scratch --teacher "store:$out/a2" "${impala[@]}" # the teacher only sets the scale

$reincarnate lineage show "$out/a3"
$reincarnate lineage verify "$out/a3"
$reincarnate lineage diff "$out/a2" "$out/a3"
$reincarnate compare "$out/a3" "$out/a3-alone" --out "$out/page"
