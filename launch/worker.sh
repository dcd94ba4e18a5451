#!/usr/bin/env bash
# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
# What tpu_vm.sh calls on each worker of a TPU, in the code that it has copied there.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
One worker of a Cloud TPU; launch/tpu_vm.sh calls this there, you need not.

  worker.sh setup                          install what the training needs into ~/vidpretrain/venv
  worker.sh start [--bucket B] -- MAIN_ARGS  mount gs://B at /mnt/B, start in the background
  worker.sh logs LINES                     follow the log until the run ends (+1: from its start)
  worker.sh result                         running, exit CODE, stopped, lost or none
  worker.sh stop                           SIGTERM: it saves and ends; SIGKILL after 5 minutes

~/vidpretrain holds code/, venv/, log.txt, pid, exit.

example: bash vidpretrain/code/launch/worker.sh result
exit codes: 0; 1 after a failure; 2 bad arguments.
END
}

BASE=${ROOT%/*}
NAME=$(hostname)
STOP_SEC=${STOP_SEC:-300}
check_number STOP_SEC "$STOP_SEC" 0

setup() {
  local uv=$HOME/.local/bin/uv
  # The images of TPU VMs have Python 3.10; uv brings a newer one.
  [[ -x $uv ]] || python3 -m pip install --quiet --user uv
  [[ -x $BASE/venv/bin/python ]] || "$uv" venv --quiet --python 3.12 "$BASE/venv"
  "$uv" pip install --quiet --python "$BASE/venv/bin/python" -r "$ROOT/requirements-tpu.txt"
}

# After a boot the machine updates itself, and has apt's locks. apt-get waits for dpkg's if it is
# told to, but never for that of the package lists.
apt_get() {
  sudo env DEBIAN_FRONTEND=noninteractive apt-get -qqy -o DPkg::Lock::Timeout=600 "$@"
}

update_lists() {
  local said try
  for ((try = 1; ; try++)); do
    if said=$(apt_get update 2>&1); then return; fi
    [[ $said == *"Could not get lock"* || $said == *"Unable to lock"* ]] || break
    ((try < 60)) || break
    sleep "$LAUNCH_WAIT_SEC"
  done
  printf '%s\n' "$said" >&2
  return 1
}

install_gcsfuse() {
  local key=/usr/share/keyrings/cloud.google.asc site=https://packages.cloud.google.com/apt
  curl -fsSL "$site/doc/apt-key.gpg" | sudo tee "$key" >/dev/null
  echo "deb [signed-by=$key] $site gcsfuse-$(lsb_release -cs) main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  update_lists
  apt_get install gcsfuse
}

mount_bucket() { # BUCKET
  local at=/mnt/$1
  if mountpoint -q "$at"; then return; fi
  command -v gcsfuse >/dev/null || install_gcsfuse
  sudo mkdir -p "$at"
  sudo chown "$(id -u)" "$at"
  # Nothing is remembered: one worker sees at once what another has written.
  gcsfuse --implicit-dirs --rename-dir-limit=100000 --metadata-cache-ttl-secs=0 \
    --metadata-cache-negative-ttl-secs=0 "$1" "$at"
}

# After a reboot another process may have the number, so its command line is looked at.
is_running() {
  local pid
  [[ -e $BASE/pid ]] || return
  pid=$(<"$BASE/pid")
  [[ -r /proc/$pid/cmdline ]] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q 'worker\.sh supervise'
}

end_run() {
  local pid i
  is_running || return 0
  pid=$(<"$BASE/pid")
  kill -TERM "$pid"
  for ((i = 0; i < STOP_SEC; i++)); do
    is_running || return 0
    sleep 1
  done
  kill -KILL -- "-$pid" 2>/dev/null || true
}

start() {
  local bucket=
  if [[ ${1:-} == --bucket ]]; then
    bucket=$(value_of "$@")
    check_bucket "$bucket"
    shift 2
  fi
  [[ ${1:-} == -- ]] || refuse "start [--bucket B] -- MAIN_ARGS"
  shift
  # What a lost connection or a dead peer has left.
  end_run
  [[ -z $bucket ]] || mount_bucket "$bucket"
  rm -f -- "$BASE"/{exit,stopped}
  # A session of its own, so that it outlives the connection.
  setsid nohup bash "$ROOT/launch/worker.sh" supervise "$@" >"$BASE/log.txt" 2>&1 </dev/null &
  echo $! >"$BASE/pid"
}

supervise_run() {
  local code=0
  cd -- "$ROOT"
  export PYTHONUNBUFFERED=1
  supervise "$BASE/venv/bin/python" -m vidpretrain.main "$@" --distributed || code=$?
  echo "$code" >"$BASE/exit.tmp"
  mv -- "$BASE/exit.tmp" "$BASE/exit"
}

logs() { # LINES
  [[ -e $BASE/log.txt ]] || return 0
  local until_it_ends=()
  [[ ! -e $BASE/pid ]] || until_it_ends=(-f --pid="$(<"$BASE/pid")")
  # A TPU's workers are called t1v-n-...-w-0, -w-1, ...
  tail -n "$1" "${until_it_ends[@]}" -- "$BASE/log.txt" | prefix "[${NAME##*-}] "
}

result() {
  if is_running; then
    echo running
  elif [[ -e $BASE/stopped ]]; then
    echo stopped
  elif [[ -e $BASE/exit ]]; then
    echo "exit $(<"$BASE/exit")"
  elif [[ -e $BASE/pid ]]; then
    echo lost
  else
    echo none
  fi
}

action=${1---help}
(($# == 0)) || shift
case $action in
  --help | -h) usage ;;
  setup) setup ;;
  start) start "$@" ;;
  supervise) supervise_run "$@" ;;
  logs) logs "${1:-+1}" ;;
  result) echo "worker ${NAME##*-}: $(result)" ;;
  stop)
    touch -- "$BASE/stopped"
    end_run
    ;;
  *) refuse "unknown action $(quote "$action")" ;;
esac
