#!/usr/bin/env bash
# hopper-hop, the stand-in for humanoid-run (studies/humanoid.sh): a modern SAC of 200,000 env steps teaches D4PG students;
# D4PG from scratch and the teacher going on beside them. Goes on where it stopped, after any kill.
#   bash studies/hopper.sh [OUT]
set -euo pipefail
source studies/taught.sh
out=${1:-out/hopper}

teacher "$out" --env dm_control/hopper-hop-v0 --student modern_sac --student.n-step 3 --student.batch-size 128 \
  --student.bfloat16 --student.warmup 5000 --env-steps 200000 --seed 100
students "$out" hopper
