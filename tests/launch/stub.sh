#!/usr/bin/env bash
# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Stands in for gcloud, xpk, sbatch and others: records its arguments, each ended by a zero byte, in
# a file per call, then does what the test's answers.sh says for this call, its number in $CALL.
set -euo pipefail
tool=${0##*/}
while :; do
  CALL=$(find "$STUB_DIR" -name 'call-*' | wc -l)
  # Only one of two at once makes the file.
  (set -C && printf '%s\0' "$tool" "$@" >"$(printf '%s/call-%04d' "$STUB_DIR" "$CALL")") \
    2>/dev/null && break
done
if [[ -e $STUB_DIR/answers.sh ]]; then
  # shellcheck source=/dev/null
  source "$STUB_DIR/answers.sh"
fi
