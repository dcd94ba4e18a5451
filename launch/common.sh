# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the launch scripts share: messages, checked names, dry runs, retries. Sourced, never run.
#
# Whatever a user gives travels as an argument of its own, or through `quote`; nothing is ever
# pasted into a command line unquoted.

EXIT_BAD_INPUT=2
EXIT_NO_TOOL=69  # EX_UNAVAILABLE
EXIT_NO_QUOTA=73 # EX_CANTCREAT
EXIT_LATER=75    # EX_TEMPFAIL, as of the training itself: the same command goes on later
# For the scripts that source this.
export EXIT_BAD_INPUT EXIT_NO_TOOL EXIT_NO_QUOTA EXIT_LATER

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
DRY_RUN='' # set by --dry-run, not by the environment
# First wait before a retry, doubled each time, and time between two looks at a state.
LAUNCH_WAIT_SEC=${LAUNCH_WAIT_SEC:-10}
LAUNCH_POLL_SEC=${LAUNCH_POLL_SEC:-30}
LAUNCH_TRIES=${LAUNCH_TRIES:-5}

say() { [[ $DRY_RUN ]] || printf 'launch: %s\n' "$*" >&2; }

fail() { # CODE MESSAGE...
  local code=$1
  shift
  printf 'error: %s\n' "$*" >&2
  exit "$code"
}

refuse() { fail "$EXIT_BAD_INPUT" "$* (--help shows examples)"; }

# Prints the arguments as one line that a shell reads back as the very same arguments.
quote() {
  local line
  printf -v line '%q ' "$@"
  printf '%s' "${line% }"
}

# What a dry run prints, even where a command's own output is captured.
exec 3>&1

# Runs a command, or prints it in a dry run.
run() {
  if [[ $DRY_RUN ]]; then
    quote "$@" >&3
    printf '\n' >&3
  else
    "$@"
  fi
}

# Prints the value of a flag, the second of these arguments; refuses a missing one.
value_of() { # FLAG VALUE...
  [[ ${2:-} ]] || refuse "$1 wants a value"
  printf '%s' "$2"
}

# Says whether all of a value is of a form; in any locale a-z is ASCII.
matches() { # VALUE REGEX
  local LC_ALL=C
  [[ $1 =~ ^($2)$ ]]
}

# Names of machines, jobs and zones go to tools that parse them again, so they are checked.
check_name() { # WHAT VALUE [LONGEST]
  local longest=${3:-63}
  if ! matches "$2" '[a-z]([-a-z0-9]*[a-z0-9])?' || ((${#2} > longest)); then
    refuse "$1 is $(quote "$2"); it must be lower-case letters, digits and '-', begin with a" \
      "letter, end with a letter or digit, and have at most $longest characters"
  fi
}

check_token() { # WHAT VALUE
  matches "$2" '[A-Za-z0-9][A-Za-z0-9._:/@=-]*' ||
    refuse "$1 is $(quote "$2"); it must be letters, digits and . _ : / @ = -, and begin with a" \
      "letter or digit"
}

check_bucket() { # NAME
  matches "$1" '[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?' ||
    refuse "--bucket is $(quote "$1"); give the bucket's name alone, such as my-runs"
}

check_tpu_type() { # TYPE
  ! matches "$1" 'v5(e|lite)-[0-9]+' ||
    refuse "--type is $1; here Google calls it v5litepod-${1#*-}"
  matches "$1" 'v[0-9][a-z0-9]*-[0-9]+' ||
    refuse "--type is $(quote "$1"); such as v4-8, v5litepod-16, v5p-8 or v6e-8"
}

# No leading zeros: arithmetic would read the number as octal, other tools as decimal.
check_number() { # WHAT VALUE LEAST [MOST]
  local most=${4:-999999999} allowed="$3 or more"
  [[ -z ${4:-} ]] || allowed="$3 to $4"
  if ! matches "$2" '0|[1-9][0-9]{0,8}' || (($2 < $3 || $2 > most)); then
    refuse "$1 is $(quote "$2"); it must be a whole number, $allowed, without leading zeros"
  fi
}

# Arithmetic runs commands that it finds in a variable, so what the environment sets is checked, too.
check_number LAUNCH_WAIT_SEC "$LAUNCH_WAIT_SEC" 0
check_number LAUNCH_POLL_SEC "$LAUNCH_POLL_SEC" 0
check_number LAUNCH_TRIES "$LAUNCH_TRIES" 1

# The arguments of the training must name a recipe and a working folder.
check_main_args() {
  local given=" " arg
  (($#)) || refuse "nothing to run: give -- --config FILE --workdir DIR at the end"
  for arg in "$@"; do
    case $arg in
      --config | --workdir) given+="$arg " ;;
      --config=* | --workdir=*) given+="${arg%%=*} " ;;
    esac
  done
  for arg in --config --workdir; do
    [[ $given == *" $arg "* ]] || refuse "the arguments after -- lack $arg"
  done
}

# Where several machines train, the working folder must be one that all of them see.
check_shared_workdir() {
  local arg
  for arg in "$@"; do
    case $arg in
      gs://* | s3://* | --workdir=gs://* | --workdir=s3://*)
        refuse "$(quote "$arg"): a run cannot write to a bucket by its address; mount it (--help" \
          "says how), and give the path below the mount as --workdir"
        ;;
    esac
  done
}

# Prints the working folder among the arguments of the training; as there, the last one counts.
workdir_of() { # MAIN_ARGS...
  local before='' arg workdir=''
  for arg in "$@"; do
    [[ $before != --workdir ]] || workdir=$arg
    [[ $arg != --workdir=* ]] || workdir=${arg#*=}
    before=$arg
  done
  printf '%s' "$workdir"
}

need() { # TOOL WHAT_TO_DO
  [[ $DRY_RUN ]] || command -v -- "$1" >/dev/null ||
    fail "$EXIT_NO_TOOL" "$1 is not installed, or not in PATH; $2. --dry-run works without it."
}

# The interpreter: $PYTHON, else the repository's environment, else python3.
find_python() {
  if [[ ${PYTHON:-} ]]; then
    printf '%s' "$PYTHON"
  elif [[ -x $ROOT/.venv/bin/python ]]; then
    printf '%s' "$ROOT/.venv/bin/python"
  else
    printf 'python3'
  fi
}

# Says of what kind the error in a cloud tool's output is: quota, capacity, transient, denied,
# exists, missing or other.
kind_of_error() { # FILE
  if grep -qiE 'quota.*(exceed|exhaust|limit|insufficient|short)|insufficient.*quota|QUOTA_EXCEEDED' \
    -- "$1"; then
    echo quota
  elif grep -qiE 'no more capacity|insufficient (reserved )?capacity|RESOURCE_POOL_EXHAUSTED|stockout|not have enough resources' \
    -- "$1"; then
    echo capacity
  elif grep -qiE 'HTTP(Error|Exception)? 5[0-9][0-9]|\b50[0234]\b.*(error|unavailable|gateway)|UNAVAILABLE|internal error|deadline exceeded|timed out|rateLimitExceeded|connection (reset|refused|closed|timed)|temporary failure|max retries exceeded|unable to find the server|network is unreachable|broken pipe|permission denied \(publickey' \
    -- "$1"; then
    echo transient
  elif grep -qiE 'ERROR: \(gcloud.*(PERMISSION_DENIED|not have permission|UNAUTHENTICATED|active account|auth tokens)' \
    -- "$1"; then
    echo denied
  elif grep -qiE 'ALREADY_EXISTS|already exists' -- "$1"; then
    echo exists
  elif grep -qiE 'NOT_FOUND|not found' -- "$1"; then
    echo missing
  else
    echo other
  fi
}

# Runs a command of a cloud tool; tries again, at growing intervals, where that can help. After a
# failure $error_kind and $error_line say what it was, and $tries how often it was tried. Without
# permission nothing else would work either, so that ends the script.
patiently() {
  if [[ $DRY_RUN ]]; then
    run "$@"
    return
  fi
  local errors code wait_sec=$LAUNCH_WAIT_SEC
  errors=$(mktemp)
  for ((tries = 1; ; tries++)); do
    code=0
    # What it says is seen at once, as it may ask something.
    { "$@" 2>&1 >&4 4>&- | tee -- "$errors" >&2 4>&-; } 4>&1 || code=$?
    # Its end says why it failed; a long log, as of an image that is built, may say anything.
    tail -n 20 -- "$errors" >"$errors.end" && mv -- "$errors.end" "$errors"
    error_kind=$(kind_of_error "$errors")
    error_line=$(grep -im1 -E 'quota|capacity|error' -- "$errors" || true)
    if ((code == 0 || tries >= LAUNCH_TRIES)) || [[ ! $error_kind =~ ^(capacity|transient)$ ]]; then
      break
    fi
    say "$error_kind error, try $tries of $LAUNCH_TRIES; again in $wait_sec s"
    sleep "$wait_sec"
    wait_sec=$((wait_sec * 2 > 300 ? 300 : wait_sec * 2))
  done
  rm -f -- "$errors"
  ((code == 0)) || [[ $error_kind != denied ]] || fail_for_permission "$error_line"
  return "$code"
}

fail_for_permission() { # REASON
  fail 1 "Google refuses it: $1"$'\n' \
    "Log in (gcloud auth login); see that --zone and --project (else: gcloud config get project) are" \
    "right, and that your account has a role there that allows it, such as TPU Admin" \
    "(roles/tpu.admin) or, on GKE, Kubernetes Engine Developer (roles/container.developer)."
}

# Packs the working tree: all files that git does not ignore, as they are now.
pack_code() { # ARCHIVE
  local line
  line="cd $(quote "$ROOT") && git ls-files -z --cached --others --exclude-standard"
  line+=" | tar --null --files-from=- -czf $(quote "$1")"
  if [[ $DRY_RUN ]]; then
    printf '%s\n' "$line" >&3
  else
    bash -c "set -euo pipefail; $line" || {
      say "the code cannot be packed: are all tracked files there, and is $ROOT a git clone?"
      return 1
    }
  fi
}

# Runs a command and waits for it. SIGTERM and SIGINT are handed on to it, so that it can save.
supervised=''
supervise() {
  local code
  "$@" &
  supervised=$!
  trap 'interrupted=1; kill -TERM "$supervised" 2>/dev/null || true' TERM INT
  while :; do
    interrupted='' code=0
    wait "$supervised" || code=$?
    # A signal ends `wait`, not the command.
    [[ $interrupted ]] || return "$code"
  done
}

# Puts a word before each line, as soon as it comes (awk and sed may wait for more).
prefix() {
  local line
  # The reader outlives a Ctrl-C that is meant for those who write.
  trap '' INT TERM HUP
  while IFS= read -r line || [[ $line ]]; do
    printf '%s%s\n' "$1" "$line"
  done
}
