#!/usr/bin/env bash
# humanoid-run: a TD3 teacher of one update per 8 env steps, then D4PG students by QDagger, D4PG from scratch, and the
# teacher going on. Goes on where it stopped, after any kill; three seeds.
#   bash studies/humanoid.sh [OUT]
#   TASK=dm_control/hopper-hop-v0 STEPS=300000 bash studies/humanoid.sh out/hopper      # the stand-in
set -euo pipefail
out=${1:-out/humanoid}
task=${TASK:-dm_control/humanoid-run-v0} steps=${STEPS:-1000000} teacher_steps=${TEACHER_STEPS:-${STEPS:-1000000}}
reincarnate() { "${PYTHON:-python}" -m reincarnate "$@"; }

teacher=$out/teacher
if [ -e "$teacher/done" ]; then :
elif [ -e "$teacher/config.json" ]; then reincarnate resume "$teacher"
else
  reincarnate train scratch --env "$task" --student td3 --student.update-every 8 --student.warmup 10000 \
    --env-steps "$teacher_steps" --eval-episodes 5 --final-episodes 20 --reference-episodes 20 --threads 1 \
    --keep all --out "$teacher"
fi
sed -e "s#dm_control/humanoid-run-v0#$task#" -e "s#store:out/humanoid/teacher#store:$teacher#" \
  -e "s#env_steps: 1000000#env_steps: $steps#" studies/humanoid.yaml > "$out/study.yaml"
reincarnate study run "$out/study.yaml" --out "$out/students" --workers "${WORKERS:-1}"
