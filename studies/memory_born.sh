#!/usr/bin/env bash
# The teacher of studies/memory_born.yaml: an LSTM trained until an evaluation of 50 greedy episodes scores 2.77 or more,
# which would be right (+4) in 70 % of them and wrong (-0.1) in the others. Learning this task is a jump, so that where it
# stops may be far above: what it is worth as it teaches, sampled, is measured as the study begins. A minute on one core.
set -euo pipefail
${REINCARNATE:-reincarnate} train scratch --env "Memory/TMaze-v0?length=5" --env-steps 49152 --evaluations 96 \
  --eval-episodes 50 --eval-epsilon 0 --final-episodes 200 --seed 1000 --stop-at score=2.77 --out out/memory-lstm \
  --student ppo --student.memory lstm --student.memory-size 32 --student.hidden 32 --student.rollout 32 \
  --student.segment 16 --student.batch-size 128 --student.epochs 4 --student.entropy 0.01 --student.lr 3e-3
