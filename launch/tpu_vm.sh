#!/usr/bin/env bash
# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
# Trains on a Cloud TPU, whatever the number of its hosts.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Train on a Cloud TPU, whatever the number of its hosts.

  launch/tpu_vm.sh train  NAME --zone Z --type T [flags] -- MAIN_ARGS   all of the below, to the end
  launch/tpu_vm.sh create NAME --zone Z --type T [flags]   ask for it, wait until it is there
  launch/tpu_vm.sh setup  NAME --zone Z                    copy this code, install what it needs
  launch/tpu_vm.sh run    NAME --zone Z [--bucket B] -- MAIN_ARGS   start on all hosts, follow
  launch/tpu_vm.sh logs   NAME --zone Z                    follow the log of all hosts
  launch/tpu_vm.sh status NAME --zone Z                    its state, and that of the run
  launch/tpu_vm.sh stop   NAME --zone Z                    save and end; the TPU stays (and costs)
  launch/tpu_vm.sh delete NAME --zone Z                    delete the TPU and its request (end
                                                           `train` first: it asks for another)

  --zone Z           such as us-central2-b; --project P if it is not gcloud's default
  --type T           accelerator: v4-8, v5litepod-16, v5p-8, v6e-8, ...
  --version V        the VM's software (the one that Google names for the type)
  --spot             cheaper, may be preempted at any time
  --now              create the TPU VM directly instead of queueing for it; fails without capacity
                     (`delete` and `status` find it without this, too)
  --autocheckpoint   SIGTERM before maintenance, so that the run saves (gcloud alpha)
  --bucket B         mount gs://B at /mnt/B on every host, with Cloud Storage FUSE
  --restarts N       failures, of the run or of a request, after which `train` gives up (3);
                     preemptions and maintenance are not counted
  --delete           `train` deletes the TPU when the run is done, or its input was bad
  --dry-run          print the commands, one a line, and run nothing
  --help             this

All hosts share one working folder, so it lies on a file system that all of them mount: with
--bucket B, --workdir /mnt/B/anything (same place in every start, so every start resumes). It must
be absolute; one on a TPU's own disk is lost with the TPU. Let the bucket have a hierarchical
namespace, where folders are renamed at once:
  gcloud storage buckets create gs://B --location=Z --uniform-bucket-level-access \
      --enable-hierarchical-namespace

What is copied is the working tree: all files that git does not ignore. The run goes on when your
connection breaks or you press Ctrl-C; the same `train` command follows it again. `train` is for
a machine that stays on: it asks for a new TPU after a preemption, and starts the run again after
preemption, maintenance and failures, from its last checkpoint. However it ends, it names what stays
and costs, and the command that deletes it.

examples:
  launch/tpu_vm.sh train exp1 --zone us-central2-b --type v4-8 --bucket my-runs --spot --delete \
      -- --config configs/demo.py --workdir /mnt/my-runs/exp1
  launch/tpu_vm.sh create exp2 --zone us-west4-a --type v5litepod-16 --autocheckpoint
  launch/tpu_vm.sh setup exp2 --zone us-west4-a
  launch/tpu_vm.sh run exp2 --zone us-west4-a --bucket my-runs \
      -- --config configs/demo.py:seed=1 --workdir /mnt/my-runs/exp2
  launch/tpu_vm.sh delete exp2 --zone us-west4-a

exit codes: 0 done; 1 failed; 2 bad input; 69 gcloud is not installed; 73 the quota does not allow
it; 75 no capacity now, or stopped: the same command goes on later; else what the run ended with.
END
}

DIR=vidpretrain
WORKER=$DIR/code/launch/worker.sh

# Prints the VM's software that Google names for a type.
version_for() { # TYPE
  case $1 in
    v[234]-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) refuse "--type is $1, whose software is not known here; give --version, too" ;;
  esac
}

# The code's own folder, where a run starts, is replaced by every `setup`.
check_kept_workdir() { # WORKDIR
  [[ $1 == /* ]] ||
    refuse "--workdir is $(quote "$1"); on a TPU it must be absolute, or the next setup would" \
      "delete it with the code"
  [[ /$1/ != */$DIR/code/* ]] ||
    refuse "--workdir is $(quote "$1"); setup deletes ~/$DIR/code, and all that is in it"
  [[ -z $bucket || $1/ == /mnt/$bucket/* ]] ||
    refuse "--workdir is $(quote "$1"), and --bucket $bucket is mounted at /mnt/$bucket; give a" \
      "folder below that, such as /mnt/$bucket/exp1, or leave out --bucket"
  [[ /$1/ != */../* ]] ||
    refuse "--workdir is $(quote "$1"); give it without .."
}

case ${1---help} in
  --help | -h)
    usage
    exit
    ;;
esac
action=$1
shift
case $action in
  train | create | setup | run | logs | status | stop | delete) ;;
  *) refuse "unknown action $(quote "$action")" ;;
esac
(($#)) || refuse "$action wants the name of a TPU"
name=$1
shift
check_name "the TPU's name" "$name"

# What is known of the TPU, whether it is this script that has asked for it, failures so far.
is='' phase=missing asked='' failures=0
# The folder of the packed code.
packed=''

zone='' project='' type='' version='' bucket='' spot='' now='' autocheckpoint='' delete='' restarts=3
while (($#)); do
  case $1 in
    --dry-run) DRY_RUN=1 ;;
    --spot) spot=1 ;;
    --now) now=1 ;;
    --autocheckpoint) autocheckpoint=1 ;;
    --delete) delete=1 ;;
    --)
      shift
      break
      ;;
    *)
      case $1 in
        --zone) zone=$(value_of "$@") ;;
        --project) project=$(value_of "$@") ;;
        --type) type=$(value_of "$@") ;;
        --version) version=$(value_of "$@") ;;
        --bucket) bucket=$(value_of "$@") ;;
        --restarts) restarts=$(value_of "$@") ;;
        --help | -h)
          usage
          exit
          ;;
        *) refuse "unknown argument $(quote "$1"); the training's own come after --" ;;
      esac
      shift
      ;;
  esac
  shift
done

[[ $zone ]] || refuse "$action wants --zone, such as --zone us-central2-b"
check_name --zone "$zone"
[[ -z $project ]] || check_token --project "$project"
[[ -z $version ]] || check_token --version "$version"
[[ -z $bucket ]] || check_bucket "$bucket"
check_number --restarts "$restarts" 0
case $action in
  create | train)
    [[ $type ]] || refuse "$action wants --type, such as --type v5litepod-16"
    check_tpu_type "$type"
    [[ $version ]] || version=$(version_for "$type")
    ;;
esac
case $action in
  run | train)
    check_main_args "$@"
    check_shared_workdir "$@"
    check_kept_workdir "$(workdir_of "$@")"
    ;;
  *) (($# == 0)) || refuse "$action takes nothing after --" ;;
esac
need gcloud "install it as https://cloud.google.com/sdk/docs/install says, then run: gcloud auth login"

where=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")

# Runs a worker's action on all hosts; its arguments are quoted for the shell there.
on_all() { # run|patiently ACTION...
  local how=$1
  shift
  "$how" gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all \
    "--command=$(quote bash "$WORKER" "$@")"
}

fail_for_quota() { # REASON
  fail "$EXIT_NO_QUOTA" "the project's quota does not allow this: $1"$'\n' \
    "Ask for more at https://console.cloud.google.com/iam-admin/quotas (service: Cloud TPU API)," \
    "choose another --zone or --type, add or drop --spot (its quota is separate), or delete what" \
    "is left over: suspended and failed requests count, too."
}

# Ends after a failed creation, with what to do about it.
fail_to_create() {
  case $error_kind in
    quota) fail_for_quota "$error_line" ;;
    capacity)
      fail "$EXIT_LATER" "no capacity after $LAUNCH_TRIES tries: $error_line"$'\n' \
        "Wait in the queue (without --now), choose another --zone or --type, or come back later."
      ;;
    *) fail 1 "it could not be created: ${error_line:-see above}" ;;
  esac
}

# Asks for the TPU.
create() {
  local command=(gcloud)
  # The flag is not in the general release yet.
  [[ -z $autocheckpoint ]] || command+=(alpha)
  command+=(compute tpus)
  if [[ $now ]]; then
    command+=(tpu-vm create "$name" "--version=$version")
  else
    command+=(queued-resources create "$name" "--node-id=$name" "--runtime-version=$version")
  fi
  command+=("${where[@]}" "--accelerator-type=$type")
  [[ -z $spot ]] || command+=(--spot)
  [[ -z $autocheckpoint ]] || command+=(--autocheckpoint-enabled)
  # So it is until the next look, and when the answer is lost.
  is='asked for' phase=unknown asked=1
  if patiently "${command[@]}"; then return; fi
  # A try whose answer was lost has made it.
  if [[ $error_kind == exists ]] && ((tries > 1)); then return; fi
  [[ $error_kind == transient ]] || phase=missing
  [[ $error_kind != exists ]] ||
    fail 1 "$name exists already. Its state: $(own status); to be rid of it: $(own delete)"
  fail_to_create
}

# Deletes the TPU and its request; a TPU that was created with --now has none.
delete() {
  if [[ ! $now ]]; then
    if patiently gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
    then
      phase=missing
      return
    fi
    [[ $error_kind == missing ]] || return
    say "there is no request $name; deleting the TPU VM of that name"
  fi
  patiently gcloud compute tpus tpu-vm delete "$name" "${where[@]}" --quiet && phase=missing
}

# Prints one field of the TPU, or of its request.
describe() { # FIELD
  local kind=queued-resources
  [[ -z $now ]] || kind=tpu-vm
  run gcloud compute tpus "$kind" describe "$name" "${where[@]}" "--format=value($1)"
}

# Prints what a state means. The states are those of the Cloud TPU API, of a request
# (QueuedResourceState.State) and of a TPU VM (Node.State), and MISSING.
phase_of() { # STATE
  case $1 in
    ACTIVE | READY) echo there ;;
    CREATING | ACCEPTED | WAITING_FOR_RESOURCES | PROVISIONING) echo coming ;;
    STARTING | RESTARTING | REIMAGING | REPAIRING | UNHIDING) echo coming ;;
    SUSPENDING | DELETING | STOPPING | HIDING) echo going ;;
    SUSPENDED | FAILED | PREEMPTED | TERMINATED) echo lost ;;
    STOPPED | HIDDEN) echo stopped ;;
    MISSING) echo missing ;;
    *) echo unknown ;;
  esac
}

# Sets $is to the state of the TPU and $phase to what it means.
look() { # STATE_IN_A_DRY_RUN
  local errors said kind found field=state.state
  [[ -z $now ]] || field=state
  errors=$(mktemp)
  if found=$(describe "$field" 2>"$errors"); then
    [[ -z $DRY_RUN ]] || found=$1
  else
    found=UNKNOWN
  fi
  said=$(<"$errors")
  kind=$(kind_of_error "$errors")
  rm -f -- "$errors"
  case $found:$kind in
    UNKNOWN:missing) found=MISSING ;;
    UNKNOWN:denied) fail_for_permission "$said" ;;
    UNKNOWN:*) printf '%s\n' "$said" >&2 ;;
  esac
  is=$found phase=$(phase_of "$found")
}

# Counts a failure of the run, or of a request for a TPU; fails if they are too many.
count_failure() {
  ((++failures <= restarts)) || return
  say "restart $failures of $restarts"
}

# Ends the script if asking again for a TPU that was lost would be in vain, or is not wished.
give_up_if_vain() { # once|again
  local reason=''
  [[ $is != FAILED ]] || reason=$(describe state.failedData.error.message || true)
  [[ $reason != *[Qq]uota* ]] || fail_for_quota "$reason"
  [[ $1 == again ]] ||
    fail "$EXIT_LATER" "$name is $is${reason:+: $reason}; delete it and create it again"
  [[ $is != FAILED ]] || count_failure ||
    fail "$EXIT_LATER" "the request for $name failed: ${reason:-Google does not say why}"
}

# Waits until the TPU is there. One that is lost ends this (once), or is replaced (again).
obtain() { # once|again
  local before='' unread=0 removals=0
  while :; do
    [[ $is == "$before" ]] || say "$name is $is"
    before=$is
    [[ $phase == unknown ]] || unread=0
    case $phase in
      there) return ;;
      coming | going) sleep "$LAUNCH_POLL_SEC" ;;
      missing)
        [[ $1 == again ]] || fail "$EXIT_LATER" "$name was deleted; create it again"
        removals=0
        create
        ;;
      lost)
        # What an earlier call has asked for tells nothing.
        [[ -z $asked ]] || give_up_if_vain "$1"
        say "$name is $is: asking for another"
        ((++removals <= LAUNCH_TRIES)) || fail 1 "$name cannot be deleted; see above"
        # Google may refuse while it is still at it.
        delete || sleep "$LAUNCH_POLL_SEC"
        ;;
      stopped)
        fail 1 "$name is $is: someone has stopped it. Delete it, or start it again:" \
          "gcloud compute tpus tpu-vm start $name ${where[*]}"
        ;;
      unknown)
        ((++unread < LAUNCH_TRIES)) ||
          fail 1 "the state of $name cannot be read, or is none that is known (${is:-nothing})"
        sleep "$LAUNCH_POLL_SEC"
        ;;
    esac
    look ACTIVE
  done
}

# Prints a command of this script for the same TPU.
own() { # ACTION
  printf '%s' "launch/tpu_vm.sh $1 $name --zone $zone${project:+ --project $project}"
  printf '%s' "${now:+ --now}"
}

# Whatever ends `create` and `train`, what stays and costs is named.
at_exit() {
  # Whom Google refuses at once, it has given nothing.
  if [[ $is == 'asked for' && ${error_kind:-} == denied ]] && ((tries == 1)); then phase=missing; fi
  [[ -z $packed ]] || rm -rf -- "$packed"
  case $action:$phase in
    train:lost | create:lost)
      say "$name stays ($is), and counts against the quota, until: $(own delete)"
      ;;
    train:coming | create:coming)
      say "$name stays ($is when last seen), and costs once it is there, until: $(own delete)"
      ;;
    train:missing | train:going | create:missing | create:going) ;;
    train:* | create:*) say "$name stays ($is when last seen), and costs, until: $(own delete)" ;;
  esac
}
trap at_exit EXIT

setup() {
  local archive=/tmp/$DIR.tar.gz
  if [[ ! $DRY_RUN ]]; then
    [[ $packed ]] || packed=$(mktemp -d)
    archive=$packed/$DIR.tar.gz
  fi
  pack_code "$archive" || return
  patiently gcloud compute tpus tpu-vm scp "$archive" "$name:$DIR.tar.gz" "${where[@]}" \
    --worker=all || return
  local unpack="rm -rf $DIR/code && mkdir -p $DIR/code && tar -xzf $DIR.tar.gz -C $DIR/code"
  patiently gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all \
    "--command=$unpack && bash $WORKER setup"
}

start() {
  local options=()
  [[ -z $bucket ]] || options=(--bucket "$bucket")
  on_all patiently start "${options[@]}" -- "$@"
}

# Prints what the run is at: the first of these words that any host says.
outcome() { # OUTCOME_IN_A_DRY_RUN
  local said word at
  said=$(on_all patiently result) || said=
  [[ -z $DRY_RUN ]] || said="worker 0: $1"
  for word in 'exit 2' stopped 'exit [^0].*' lost none running 'exit 0'; do
    if at=$(grep -xE -m1 "worker .*: ($word)" <<<"$said"); then
      echo "${at#*: }"
      return
    fi
  done
  echo unreachable
}

# Shows the log until the run has ended, through lost connections; prints how it ended.
follow() {
  local lines=+1 at
  while :; do
    on_all run logs "$lines" >&3 || say "the connection ended"
    at=$(outcome 'exit 0')
    [[ $at == running ]] || break
    lines=5
    sleep "$LAUNCH_WAIT_SEC"
  done
  echo "$at"
}

finish() { # OUTCOME
  case $1 in
    'exit '*) exit "${1#exit }" ;;
    stopped) fail "$EXIT_LATER" "the run was stopped; the same command goes on from there" ;;
    *) fail 1 "the run is $1; see: $(own status)" ;;
  esac
}

# Gets a TPU and a run on it, again and again, until the run has ended for good.
train() {
  local at
  while :; do
    look MISSING
    obtain again
    at=$(outcome none)
    if [[ $at == running ]] || { setup && start "$@"; }; then
      at=$(follow)
    else
      at=unreachable
    fi
    say "the run: $at"
    case $at in
      'exit 0' | 'exit 2')
        if [[ $delete ]] && ! delete; then
          # It may have gone by itself.
          [[ $error_kind == missing ]] || fail 1 "$name cannot be deleted; see above"
          phase=missing
        fi
        finish "$at"
        ;;
      stopped) finish "$at" ;;
      # SIGTERM, before maintenance or a preemption.
      'exit 75') ;;
      *)
        # If it is the TPU that is gone, the run has not failed.
        look ACTIVE
        [[ $phase != there ]] || count_failure || finish "$at"
        ;;
    esac
    sleep "$LAUNCH_WAIT_SEC"
  done
}

status() {
  look ACTIVE
  if [[ $phase == missing && ! $now ]]; then
    # A TPU that was created with --now.
    now=1
    look ACTIVE
  fi
  [[ $phase != unknown ]] || fail 1 "the state of $name cannot be read; see above"
  [[ $DRY_RUN ]] || echo "$name: $is"
  [[ $phase != there ]] || on_all run result
}

case $action in
  train) train "$@" ;;
  create)
    create
    look ACTIVE
    obtain once
    ;;
  setup) setup ;;
  run)
    start "$@"
    finish "$(follow)"
    ;;
  logs) on_all run logs +1 ;;
  status) status ;;
  stop) on_all run stop ;;
  delete) delete ;;
esac
