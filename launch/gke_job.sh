#!/usr/bin/env bash
# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
# What gke.sh runs in every pod.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
The body of a pod; launch/gke.sh puts it there, you need not.

example: bash launch/gke_job.sh --config configs/demo.py --workdir /runs/demo
exit codes: 0 done; 2 bad input, which xpk does not try again; 42 anything else, which it does (it
takes 42 and codes above 126 for reasons to start again, and all others for final).
END
}

case ${1---help} in
  --help | -h)
    usage
    exit
    ;;
esac
cd -- "$ROOT"
export PYTHONUNBUFFERED=1
# Nothing to do where the image has it all.
python3 -m pip install --quiet --disable-pip-version-check -r requirements-tpu.txt || {
  say "the requirements cannot be installed"
  exit 42
}
code=0
supervise python3 -m vidpretrain.main "$@" --distributed || code=$?
say "ended with code $code"
case $code in
  0 | "$EXIT_BAD_INPUT") exit "$code" ;;
  *) exit 42 ;;
esac
