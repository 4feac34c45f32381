#!/usr/bin/env bash
# Actor-Mimic on MinAtar: four teachers into one student, then its weights to the fifth game, against scratch.
#   bash studies/mimic.sh [OUT]      $RUN is put before every command (a queue, nice)
set -euo pipefail
out=${1:-out/mimic}
reincarnate() { ${RUN:-} "${PYTHON:-python}" -m reincarnate "$@"; }

reincarnate study run studies/mimic.yaml --out "$out/teach" --workers 1
common=(--env MinAtar/SpaceInvaders-v1 --student pqn --env-steps 200000 --evaluations 5 --eval-episodes 16
  --final-episodes 64 --reference-episodes 50 --threads 1)
for seed in 0 1 2; do
  mimic=("$out"/teach/*/policies-s"$seed") follower=("$out"/teach/*/features-s"$seed")
  to="$out/transfer"
  start=(--lr-scale 1 --seed "$seed")
  [ -e "$to/scratch-s$seed" ] || reincarnate train scratch "${common[@]}" --seed "$seed" --out "$to/scratch-s$seed"
  [ -e "$to/policies-s$seed" ] || reincarnate train finetune "${common[@]}" "${start[@]}" --label "from policies" \
    --weights "store:${mimic[0]}" --out "$to/policies-s$seed"
  [ -e "$to/features-s$seed" ] || reincarnate train finetune "${common[@]}" "${start[@]}" --label "from features" \
    --weights "store:${follower[0]}" --out "$to/features-s$seed"
  [ -e "$to/newhead-s$seed" ] || reincarnate train finetune "${common[@]}" "${start[@]}" --label "from policies, new head" \
    --weights "store:${mimic[0]}" --surgery reset-head --out "$to/newhead-s$seed"
done
