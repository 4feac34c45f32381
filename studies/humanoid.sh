#!/usr/bin/env bash
# humanoid-run: a TD3 teacher of one update per 8 env steps, then D4PG students by QDagger, D4PG from scratch, and the
# teacher going on. Goes on where it stopped, after any kill; three seeds. studies/hopper.sh is the stand-in.
#   bash studies/humanoid.sh [OUT]
#   STEPS=300000 TEACHER_STEPS=1000000 bash studies/humanoid.sh        # another budget
set -euo pipefail
source studies/taught.sh
out=${1:-out/humanoid}
steps=${STEPS:-1000000}

teacher "$out" --env dm_control/humanoid-run-v0 --student td3 --student.update-every 8 --student.warmup 10000 \
  --env-steps "${TEACHER_STEPS:-$steps}"
students "$out" humanoid -e "s#env_steps: 1000000#env_steps: $steps#"
