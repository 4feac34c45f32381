#!/usr/bin/env bash
# hopper-hop, the stand-in for humanoid-run (studies/humanoid.sh): a modern SAC of 200,000 env steps teaches D4PG students;
# D4PG from scratch and the teacher going on beside them. Goes on where it stopped, after any kill.
#   bash studies/hopper.sh [OUT]
set -euo pipefail
out=${1:-out/hopper}
teacher=$out/teacher
reincarnate() { "${PYTHON:-python}" -m reincarnate "$@"; }

if [ -e "$teacher/done" ]; then :
elif [ -e "$teacher/config.json" ]; then reincarnate resume "$teacher"
else
  reincarnate train scratch --env dm_control/hopper-hop-v0 --student modern_sac --student.n-step 3 \
    --student.batch-size 128 --student.bfloat16 --student.warmup 5000 --env-steps 200000 --eval-episodes 5 \
    --final-episodes 20 --reference-episodes 20 --threads 1 --keep all --seed 100 --out "$teacher"
fi
sed -e "s#store:out/hopper/teacher#store:$teacher#" studies/hopper.yaml > "$out/study.yaml"
reincarnate study run "$out/study.yaml" --out "$out/students" --workers "${WORKERS:-1}"
