#!/usr/bin/env bash
# PQN agents of two grades, the teachers of graded_pqn_*.yaml: from scratch for 250,000 and for 1,000,000 env steps, into
# out/priors; agents that are there stay. About 12 minutes of one core.
#   bash studies/graded_pqn.sh
set -euo pipefail
reincarnate=${REINCARNATE:-reincarnate}

agent() { # game, name, method and its flags
  local out="out/priors/${1,,}-$2"
  if [ -e "$out/done" ]; then return; fi
  if [ -e "$out" ]; then $reincarnate resume "$out"; return; fi
  $reincarnate train "${@:3}" --student pqn --env "MinAtar/$1-v1" --seed 1000 --threads 1 --eval-episodes 16 \
    --final-episodes 100 --out "$out"
}

for game in Breakout Asterix Freeway Seaquest; do
  agent $game pqn-250k scratch --env-steps 250000
  agent $game pqn-1m scratch --env-steps 1000000
done
