#!/usr/bin/env bash
# The DQN agents that the value studies reuse, trained from scratch into out/priors with the replay they end with; agents
# that are there stay. About 30 minutes on one core.
#   bash studies/priors.sh
set -euo pipefail
reincarnate=${REINCARNATE:-reincarnate}

agent() { # game, name, env steps, further flags
  local out="out/priors/${1,,}-$2"
  if [ -e "$out/done" ]; then return; fi
  if [ -e "$out" ]; then $reincarnate resume "$out"; return; fi
  $reincarnate train scratch --env "MinAtar/$1-v1" --env-steps "$3" --seed 1000 --evaluations 10 --keep all --threads 1 \
    --student.lr 2.5e-4 --student.target-every 500 --student.epsilon-steps 20000 --out "$out" "${@:4}"
}

for game in Breakout Asterix Freeway Seaquest; do
  agent $game dqn-200k 200000
  agent $game dqn-20k 20000 --student.epsilon-steps 5000
  agent $game nature-100k 100000 --student.optimizer rmsprop --student.n-step 1
done
