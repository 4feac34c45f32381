# What humanoid.sh and hopper.sh share; to be sourced. A teacher is trained into OUT/teacher, or goes on there after a
# kill, or stays as it is; then a study, whose file names that teacher as store:out/NAME/teacher, runs into OUT/students.
reincarnate() { "${PYTHON:-python}" -m reincarnate "$@"; }

teacher() { # OUT, flags of its training
  local to=$1/teacher
  if [ -e "$to/done" ]; then return; fi
  if [ -e "$to/config.json" ]; then reincarnate resume "$to"; return; fi
  reincarnate train scratch --out "$to" --eval-episodes 5 --final-episodes 20 --reference-episodes 20 --threads 1 \
    --keep all "${@:2}"
}

students() { # OUT, NAME, further expressions for sed
  mkdir -p "$1"
  sed -e "s#store:out/$2/teacher#store:$1/teacher#" "${@:3}" "studies/$2.yaml" > "$1/study.yaml"
  reincarnate study run "$1/study.yaml" --out "$1/students" --workers "${WORKERS:-1}"
}
