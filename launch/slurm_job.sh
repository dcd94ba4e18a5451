#!/usr/bin/env bash
# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
# What slurm.sh submits: runs on the first node of the job.
set -euo pipefail

usage() {
  cat <<'END'
The body of a Slurm job; launch/slurm.sh submits it, you need not.

example: sbatch --nodes=2 --ntasks-per-node=1 --signal=TERM@120 --requeue launch/slurm_job.sh \
    --config configs/demo.py --workdir /shared/runs/demo
exit codes: those of vidpretrain.main. After all but 0 and 2 the job requeues itself.
END
}

case ${1---help} in
  --help | -h)
    usage
    exit
    ;;
esac
# Slurm runs a copy of this file, so the clone is named by the environment.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${LAUNCH_ROOT:?is the clone of vidpretrain; launch/slurm.sh sets it}/launch/common.sh"

gpus=${LAUNCH_GPUS:-0} restarts=${LAUNCH_RESTARTS:-20} restarted=${SLURM_RESTART_COUNT:-0}
check_number LAUNCH_GPUS "$gpus" 0
check_number LAUNCH_RESTARTS "$restarts" 0
check_number SLURM_RESTART_COUNT "$restarted" 0
export PYTHONUNBUFFERED=1 PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
if ((gpus)); then
  # Under Slurm JAX gives a process one GPU; ours drive all of their node.
  JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((gpus - 1)))
  export JAX_LOCAL_DEVICE_IDS
fi

# Since Slurm 22.05 srun does not take this over by itself.
[[ -z ${SLURM_CPUS_PER_TASK:-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

# Whoever ends the job also signals the processes themselves. Nothing is handed on to srun: given
# SIGTERM, it kills them before they have saved. In the foreground, it is waited for to the end.
cancelled=''
trap 'cancelled=1' TERM
code=0
# A process that ends badly leaves the others a minute to end by themselves.
srun --kill-on-bad-exit=0 --wait=60 "$(find_python)" -m vidpretrain.main "$@" --distributed ||
  code=$?
if ((code == 0 || code == EXIT_BAD_INPUT)) || [[ $cancelled ]]; then
  exit "$code"
fi
if ((restarted >= restarts)); then
  fail "$code" "ended with code $code after $restarted restarts; not again"
fi
say "ended with code $code: the job requeues itself"
scontrol requeue "$SLURM_JOB_ID"
exit "$code"
