#!/usr/bin/env bash
# Actor-Mimic on MinAtar: four teachers into one student, then its weights to the fifth game, against scratch.
#   bash studies/mimic.sh [OUT]      goes on where it stopped
set -euo pipefail
out=${1:-out/mimic}
reincarnate() { "${PYTHON:-python}" -m reincarnate "$@"; }

common=(--env MinAtar/SpaceInvaders-v1 --student pqn --env-steps 100000 --evaluations 4 --eval-episodes 16
  --final-episodes 64 --reference-episodes 50 --threads 1)
train() { # method, directory, flags …: unless it is done
  local method=$1 to=$2
  shift 2
  [ -e "$to/done" ] && return
  rm -rf "$to"
  reincarnate train "$method" "${common[@]}" --out "$to" "$@"
}
mkdir -p "$out"
reincarnate study run studies/mimic.yaml --out "$out/teach" --workers 1
for seed in 0 1 2 3 4; do
  mimic=("$out"/teach/*/policies-s"$seed") follower=("$out"/teach/*/features-s"$seed")
  train scratch "$out/transfer/scratch-s$seed" --seed "$seed"
  train finetune "$out/transfer/policies-s$seed" --seed "$seed" --lr-scale 1 --label policies --weights "store:${mimic[0]}"
  train finetune "$out/transfer/features-s$seed" --seed "$seed" --lr-scale 1 --label features \
    --weights "store:${follower[0]}"
  train finetune "$out/transfer/newhead-s$seed" --seed "$seed" --lr-scale 1 --label "new head" --surgery reset-head \
    --weights "store:${mimic[0]}"
done
