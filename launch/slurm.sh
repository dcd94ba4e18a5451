#!/usr/bin/env bash
# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
# Submits a run to Slurm.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Submit a run to a Slurm cluster: one process per node, which drives all GPUs of its node.

  launch/slurm.sh NAME --time LIMIT [flags] -- MAIN_ARGS

  --time LIMIT       time limit of one job, such as 12:00:00 or 2-00:00:00
  --nodes N          nodes (1)
  --gpus-per-node G  GPUs of each node (0: train on the CPU)
  --cpus-per-task C  cores of each node, most of them for decoding (the cluster's default)
  --partition P, --account A, --qos Q   as sbatch knows them
  --warn SEC         how long before the limit the run is told to save (120; at most 65535)
  --restarts N       requeue at most N times (20)
  --dry-run          print the command, and submit nothing
  --help             this

The environment is $PYTHON, else .venv of this clone, else python3, on a file system that all nodes
see, like this clone and --workdir. --warn seconds before the limit all processes get SIGTERM, save
and end with 75; the job then requeues itself and goes on. It does so after failures, too, but not
after bad input, nor when you scancel it; jobs that Slurm preempts, Slurm requeues. In both cases
the processes have as long to save as the cluster's KillWait says, often 30 s. Output goes to
slurm-NAME-JOBID.out, appended to by every start.

examples:
  launch/slurm.sh exp1 --time 12:00:00 --nodes 2 --gpus-per-node 8 --cpus-per-task 64 \
      -- --config configs/demo.py --workdir /shared/runs/exp1
  launch/slurm.sh try --time 10:00 --dry-run -- --config configs/demo.py --workdir runs/try
  scancel --name exp1                     ends it; the same command goes on from there
  scancel --name exp1 --signal=TERM       lets it save, however long that takes, and requeue itself

exit codes: those of sbatch; 2 bad input; 69 sbatch is not installed. The job's: those of
vidpretrain.main (docs/checkpoints.md).
END
}

# Prints a time limit in seconds, as sbatch reads it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.
seconds_of() { # LIMIT
  local days=0 fields
  IFS=: read -ra fields <<<"${1#*-}"
  if [[ $1 == *-* ]]; then
    days=${1%%-*}
    fields+=(0 0)
  elif ((${#fields[@]} < 3)); then
    fields=(0 "${fields[@]}" 0)
  fi
  echo $((((10#$days * 24 + 10#${fields[0]}) * 60 + 10#${fields[1]}) * 60 + 10#${fields[2]}))
}

case ${1---help} in
  --help | -h)
    usage
    exit
    ;;
esac
name=$1
shift
check_name "the job's name" "$name"
time='' nodes=1 gpus=0 warn_sec=120 restarts=20
options=()
while (($#)); do
  case $1 in
    --dry-run)
      DRY_RUN=1
      shift
      continue
      ;;
    --)
      shift
      break
      ;;
    --help | -h)
      usage
      exit
      ;;
    --time) time=$(value_of "$@") ;;
    --nodes) nodes=$(value_of "$@") ;;
    --gpus-per-node) gpus=$(value_of "$@") ;;
    --warn) warn_sec=$(value_of "$@") ;;
    --restarts) restarts=$(value_of "$@") ;;
    --cpus-per-task | --partition | --account | --qos)
      value=$(value_of "$@")
      check_token "$1" "$value"
      options+=("$1=$value")
      ;;
    *) refuse "unknown argument $(quote "$1"); the training's own come after --" ;;
  esac
  shift 2
done
matches "$time" '[0-9]{1,9}(-[0-9]{1,9})?(:[0-9]{1,9}){0,2}' ||
  refuse "--time is $(quote "$time"); give a limit such as 12:00:00 or 2-00:00:00"
check_number --nodes "$nodes" 1
check_number --gpus-per-node "$gpus" 0
check_number --warn "$warn_sec" 1 65535
check_number --restarts "$restarts" 0
time_sec=$(seconds_of "$time")
# 0 is no limit.
if ((0 < time_sec && time_sec <= warn_sec + 60)); then
  refuse "--time $time is $time_sec s; Slurm tells the run to save --warn $warn_sec s before that, or" \
    "up to 60 s earlier, so no time is left to train"
fi
check_main_args "$@"
check_shared_workdir "$@"
need sbatch "log in to a node of the cluster that has Slurm's commands"

((gpus == 0)) || options+=("--gpus-per-node=$gpus")
# The job reads these; sbatch hands the environment on.
export LAUNCH_ROOT=$ROOT LAUNCH_GPUS=$gpus LAUNCH_RESTARTS=$restarts
# Without B: the signal goes to the processes, not to the script, which takes SIGTERM for the job's
# end by others.
command=(sbatch "--job-name=$name" "--nodes=$nodes" --ntasks-per-node=1 "--time=$time"
  "--signal=TERM@$warn_sec" --requeue --open-mode=append "--output=slurm-$name-%j.out"
  "--export=ALL,LAUNCH_ROOT,LAUNCH_GPUS,LAUNCH_RESTARTS" "${options[@]}"
  "$ROOT/launch/slurm_job.sh" "$@")
if [[ $DRY_RUN ]]; then
  command=(env "LAUNCH_ROOT=$ROOT" "LAUNCH_GPUS=$gpus" "LAUNCH_RESTARTS=$restarts" "${command[@]}")
fi
run "${command[@]}"
