#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sbatch_test.sh TRAIN_SBATCH: runs the batch script with a stand-in for srun and scontrol.
# Protects: the request to stop reaches the ranks, their exit code survives the interrupted wait, only "saved" requeues.
set -euo pipefail
script=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PATH=$folder:$PATH FOLDER=$folder SLURM_JOB_ID=7 SLURM_JOB_NODELIST=n1

cat >"$folder/srun" <<'TEXT'
#!/bin/bash
[[ $1 == --mpi=pmix && $2 == -K1 && $3 == -W ]] || exit 99
shift 4
exec "$@"
TEXT
cat >"$folder/scontrol" <<'TEXT'
#!/bin/bash
echo "$*" >"$FOLDER/requeued"
TEXT
cat >"$folder/rank" <<'TEXT'
#!/bin/bash
trap 'exit 75' USR1
touch "$FOLDER/ready"
for ((i = 0; i < 1000; ++i)); do sleep 0.02; done  # ends by itself if the signal never comes
exit 98
TEXT
chmod +x "$folder"/*

expect() {  # expect WHAT WANTED GOT
  [[ $2 == "$3" ]] || { echo "$1: wanted '$2', got '$3'" && exit 1; }
}

bash "$script" rank &
batch=$!
for ((i = 0; i < 500; ++i)); do
  [[ ! -e $folder/ready ]] || break
  sleep 0.02
done
kill -USR1 "$batch"
status=0
wait "$batch" || status=$?
expect "status after a save" 75 "$status"
expect "scontrol's arguments" "requeue 7" "$(cat "$folder/requeued")"

rm "$folder/requeued"
status=0
bash "$script" bash -c 'exit 70' || status=$?
expect "status of a failure" 70 "$status"
expect "requeue after a failure" no "$([[ -e $folder/requeued ]] && echo yes || echo no)"

status=0
bash "$script" 2>/dev/null || status=$?
expect "status without a program" 2 "$status"
