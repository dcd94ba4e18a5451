#!/usr/bin/env bash
# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
# Trains on several processes of this machine.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Train on several processes of this machine.

  launch/local.sh (--gpus LIST | --processes N) [flags] -- MAIN_ARGS

One process can drive all GPUs of a box, and that is the simplest way to use them:
`python -m vidpretrain.main` needs no launcher. Use one process per GPU where Python, not the GPUs,
is what a step waits for. Processes on the CPU are for trying out what several hosts do.

  --gpus LIST        one process on each of these GPUs: 0,1,2,3, or all
  --processes N      N processes on the CPU
  --cpu-devices K    pretend that each of them has K devices (1)
  --restarts N       when one dies, end the others and start all again, up to N times (0)
  --grace SEC        how long the others may take to end by themselves (10)
  --port P           where process 0 listens (a free port)
  --dry-run          print the commands, one a line, and run nothing
  --help             this

MAIN_ARGS are those of `python -m vidpretrain.main`. Each line of output begins with the number of
the process it is from. Ctrl-C and SIGTERM reach every process once: they save, then end; a second
one ends them at once. The working folder is the same in every start, so a restarted run goes on
from its last checkpoint.

examples:
  launch/local.sh --gpus all --restarts 3 -- --config configs/demo.py --workdir runs/demo
  launch/local.sh --processes 2 --cpu-devices 4 -- --config configs/demo.py --workdir runs/try
  launch/local.sh --gpus 0,1 --dry-run -- --config configs/demo.py:seed=1 --workdir runs/demo1

exit codes: those of vidpretrain.main (0 done, 1 failed, 2 bad input, 70 stalled, 75 interrupted:
docs/checkpoints.md), of the process that ended first; 69 a tool is missing or broken. Bad input is
not tried again, nor is what you interrupt.
END
}

gpus='' processes='' cpu_devices='' restarts=0 grace_sec=10 port=''
while (($#)); do
  case $1 in
    --help | -h)
      usage
      exit
      ;;
    --dry-run)
      DRY_RUN=1
      shift
      continue
      ;;
    --)
      shift
      break
      ;;
    --gpus) gpus=$(value_of "$@") ;;
    --processes) processes=$(value_of "$@") ;;
    --cpu-devices) cpu_devices=$(value_of "$@") ;;
    --restarts) restarts=$(value_of "$@") ;;
    --grace) grace_sec=$(value_of "$@") ;;
    --port) port=$(value_of "$@") ;;
    *) refuse "unknown argument $(quote "$1"); the training's own come after --" ;;
  esac
  shift 2
done
check_main_args "$@"
check_number --restarts "$restarts" 0
check_number --grace "$grace_sec" 0
[[ -z $port ]] || check_number --port "$port" 1 65535
[[ $gpus || $processes ]] || refuse "give --gpus LIST or --processes N"
[[ -z $gpus || -z $processes$cpu_devices ]] || refuse "--gpus says it all; drop the other two"
list='(0|[1-9][0-9]*)(,(0|[1-9][0-9]*))*'
if [[ $gpus == all ]]; then
  command -v nvidia-smi >/dev/null || fail "$EXIT_NO_TOOL" "nvidia-smi is not installed, so the" \
    "GPUs cannot be counted; install NVIDIA's driver, or name the GPUs: --gpus 0,1"
  if ! gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader | paste -sd, -) ||
    ! matches "$gpus" "$list"; then
    fail "$EXIT_NO_TOOL" "nvidia-smi lists no GPUs; it said: ${gpus:-nothing}."$'\n' \
      "Repair NVIDIA's driver, or name the GPUs: --gpus 0,1"
  fi
fi
if [[ $gpus ]]; then
  matches "$gpus" "$list" || refuse "--gpus is $(quote "$gpus"); give all, or 0,1,2"
  IFS=, read -ra gpu_ids <<<"$gpus"
  processes=${#gpu_ids[@]}
  declare -A named=()
  for id in "${gpu_ids[@]}"; do
    [[ ! ${named[$id]:-} ]] || refuse "--gpus is $gpus; it names GPU $id twice"
    named[$id]=1
  done
else
  check_number --processes "$processes" 1
  check_number --cpu-devices "${cpu_devices:=1}" 1
fi
((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 501)) ||
  fail "$EXIT_NO_TOOL" "bash is $BASH_VERSION; this script needs 5.1 or newer"
python=$(find_python)
need "$python" "run \`make test\` once, or name an interpreter: PYTHON=/path/to/python"

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

# Sets `command` to that of one process.
command_of() { # PROCESS PORT MAIN_ARGS...
  local i=$1 at=localhost:$2
  shift 2
  command=(env PYTHONUNBUFFERED=1 "PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}")
  if [[ $gpus ]]; then
    # JAX's own choice of GPUs: the others stay visible to NCCL, which copies between them.
    command+=("JAX_LOCAL_DEVICE_IDS=${gpu_ids[i]}")
  else
    command+=(JAX_PLATFORMS=cpu
      "XLA_FLAGS=${XLA_FLAGS:+$XLA_FLAGS }--xla_force_host_platform_device_count=$cpu_devices")
  fi
  command+=("$python" -m vidpretrain.main "$@"
    --coordinator "$at" --num_processes "$processes" --process_id "$i")
}

signal_all() { # SIGNAL
  local pid
  for pid in "${!alive[@]}"; do
    # A group of its own: the readers of the data go with their process.
    kill "-$1" -- "-$pid" 2>/dev/null || true
  done
}

interrupt() { # SIGNAL
  stopping=1
  say "$1: passed on to all processes"
  signal_all "$1"
}

# Starts all processes and waits for them. Returns the code of the one that first ended badly.
attempt() {
  local at i code first=0 killer='' loggers=() command
  at=${port:-$(free_port)}
  alive=()
  for ((i = 0; i < processes; i++)); do
    command_of "$i" "$at" "$@"
    exec {out}> >(prefix "[$i] ")
    loggers+=("$!")
    # A job with monitoring on leads a process group.
    set -m
    "${command[@]}" </dev/null >&"$out" 2>&1 {out}>&- 3>&- &
    set +m
    exec {out}>&-
    alive[$!]=$i
    say "process $i is $!"
  done
  while ((${#alive[@]})); do
    code=0
    wait -n -p pid "${!alive[@]}" 2>/dev/null || code=$?
    # Unset if a signal came, and nobody ended.
    [[ ${pid:-} ]] || continue
    ((code == 0)) || say "process ${alive[$pid]} ended with code $code"
    # Its readers, if it died.
    kill -KILL -- "-$pid" 2>/dev/null || true
    unset "alive[$pid]"
    if ((code && !first)); then
      first=$code
      if ((${#alive[@]})); then
        say "the others have $grace_sec s to end"
        set -m
        (sleep "$grace_sec" && signal_all KILL) 3>&- &
        set +m
        killer=$!
      fi
    fi
  done
  [[ -z $killer ]] || kill -- "-$killer" 2>/dev/null || true
  wait "${loggers[@]}" || true
  return "$first"
}

if [[ $DRY_RUN ]]; then
  for ((i = 0; i < processes; i++)); do
    command_of "$i" "${port:-12345}" "$@"
    printf '%s &\n' "$(quote "${command[@]}")"
  done
  echo wait
  exit
fi

declare -A alive=()
stopping=
trap 'signal_all KILL' EXIT
trap 'interrupt INT' INT
trap 'interrupt TERM' TERM
for ((restart = 0; ; restart++)); do
  code=0
  attempt "$@" || code=$?
  if ((code == 0 || code == EXIT_BAD_INPUT || restart >= restarts)) || [[ $stopping ]]; then
    exit "$code"
  fi
  say "restart $((restart + 1)) of $restarts"
done
