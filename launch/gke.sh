#!/usr/bin/env bash
# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
# Trains on TPUs of a GKE cluster that xpk has made.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Train on TPUs of a Google Kubernetes Engine cluster, through xpk.

  launch/gke.sh create NAME --cluster C --zone Z --type T [flags] -- MAIN_ARGS
  launch/gke.sh status NAME --cluster C --zone Z     where the workload is (all named so or longer)
  launch/gke.sh logs   NAME                          follow the logs of all pods (kubectl)
  launch/gke.sh delete NAME --cluster C --zone Z     end it (it saves) and remove it

  --cluster C        made by `xpk cluster create`
  --zone Z           its zone; --project P if it is not gcloud's default
  --type T           TPU of each slice: v4-8, v5litepod-16, v5p-8, v6e-8, ...
  --slices N         slices (1)
  --priority P       very-low, low, medium, high or very-high (medium)
  --restarts N       how often Kubernetes starts it again (50)
  --image I          image with Python 3.11 or newer and bash, which this code is added to (all
                     files that git does not ignore; python:3.12); what the training needs is
                     installed at the start, if not there
  --dry-run          print the command, and run nothing
  --help             this

The working folder lies on storage that all pods mount, as all else in a pod is lost with it: attach
a bucket once, and it is at the same place in every workload:
  xpk storage attach runs --cluster C --zone Z --project P --type gcsfuse --bucket my-runs \
      --mount-point /runs --readonly false --auto-mount true --size 1 \
      --mount-options implicit-dirs,metadata-cache:ttl-secs:0
Preempted or evicted pods get SIGTERM and five minutes to save. Kubernetes starts the workload
again after that and after failures, not after bad input.

examples:
  launch/gke.sh create exp1 --cluster tpus --zone us-west4-a --type v5litepod-16 \
      -- --config configs/demo.py --workdir /runs/exp1
  launch/gke.sh logs exp1
  launch/gke.sh delete exp1 --cluster tpus --zone us-west4-a

exit codes: those of xpk and kubectl; 2 bad input; 69 xpk or kubectl is not installed; 73 the quota
does not allow it; 75 no capacity now.
END
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
  create | status | logs | delete) ;;
  *) refuse "unknown action $(quote "$action")" ;;
esac
(($#)) || refuse "$action wants the name of a workload"
name=$1
shift
check_name "the workload's name" "$name" 39

cluster='' zone='' project='' type='' slices=1 priority=medium restarts=50 image=python:3.12
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
    --cluster) cluster=$(value_of "$@") ;;
    --zone) zone=$(value_of "$@") ;;
    --project) project=$(value_of "$@") ;;
    --type) type=$(value_of "$@") ;;
    --slices) slices=$(value_of "$@") ;;
    --priority) priority=$(value_of "$@") ;;
    --restarts) restarts=$(value_of "$@") ;;
    --image) image=$(value_of "$@") ;;
    *) refuse "unknown argument $(quote "$1"); the training's own come after --" ;;
  esac
  shift 2
done
if [[ $action != logs ]]; then
  [[ $cluster && $zone ]] || refuse "$action wants --cluster and --zone"
  check_name --cluster "$cluster"
  check_name --zone "$zone"
fi
[[ -z $project ]] || check_token --project "$project"
check_number --slices "$slices" 1
check_number --restarts "$restarts" 0
check_token --image "$image"
matches "$priority" 'very-low|low|medium|high|very-high' ||
  refuse "--priority is $(quote "$priority"); very-low, low, medium, high or very-high"
if [[ $action == create ]]; then
  check_tpu_type "$type"
  check_main_args "$@"
  check_shared_workdir "$@"
  workdir=$(workdir_of "$@")
  # /app is where xpk puts the code.
  [[ $workdir == /* && $workdir/ != /app/* ]] ||
    refuse "--workdir is $(quote "$workdir"); give an absolute path on storage that all pods mount" \
      "(--help says how): the pod's own files are lost each time it starts again"
  # xpk writes the command into a line of a YAML file.
  [[ $* != *[[:cntrl:]]* ]] || refuse "an argument of the training has a line break or tab in it"
else
  (($# == 0)) || refuse "$action takes nothing after --"
fi

where=("--cluster=$cluster" "--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")
if [[ $action == logs ]]; then
  need kubectl "install it: gcloud components install kubectl, then: gcloud container clusters get-credentials CLUSTER"
else
  need xpk "install it: pip install xpk (and see that docker, gcloud and kubectl are there)"
fi

# xpk adds a folder to the image with all that is in it, and pastes the folder's name into a command
# line. So it gets a copy of what git does not ignore, in a folder of a harmless name.
create() {
  copy=/tmp/vidpretrain
  if [[ ! $DRY_RUN ]]; then
    copy=$(mktemp -d /tmp/vidpretrain-XXXXXXXX)
    trap 'rm -rf -- "$copy"' EXIT
  fi
  run mkdir -p "$copy/code"
  pack_code "$copy/code.tar.gz" || exit 1
  run tar -xzf "$copy/code.tar.gz" -C "$copy/code"
  # It writes errors to stdout, too; `patiently` looks at stderr.
  xpk() { command xpk "$@" >&2; }
  patiently xpk workload create "--workload=$name" "${where[@]}" "--tpu-type=$type" \
    "--num-slices=$slices" "--priority=$priority" "--max-restarts=$restarts" \
    --termination-grace-period-seconds=300 "--base-docker-image=$image" \
    "--script-dir=$copy/code" "--command=$(quote exec bash launch/gke_job.sh "$@")" ||
    fail_as_xpk $?
}

# Ends after a failed creation; xpk has said what it is.
fail_as_xpk() { # CODE
  # A try whose answer was lost has made it.
  if [[ $error_kind == exists ]] && ((tries > 1)); then return; fi
  case $error_kind in
    quota)
      fail "$EXIT_NO_QUOTA" "the quota does not allow this, see above. Ask for more at" \
        "https://console.cloud.google.com/iam-admin/quotas (service: Compute Engine API), or take" \
        "a smaller --type, fewer --slices, or another cluster."
      ;;
    capacity)
      fail "$EXIT_LATER" "no capacity after $LAUNCH_TRIES tries, see above. Take another cluster," \
        "or come back later."
      ;;
    *) fail "$1" "xpk ended with code $1, see above" ;;
  esac
}

case $action in
  create) create "$@" ;;
  status) run xpk workload list "${where[@]}" "--filter-by-job=$name" ;;
  logs)
    run kubectl logs --follow --prefix --tail=-1 --max-log-requests=256 --all-containers \
      "--selector=jobset.sigs.k8s.io/jobset-name=$name"
    ;;
  # Never without a name: xpk would delete every workload of the cluster.
  delete) run xpk workload delete "--workload=$name" "${where[@]}" --force ;;
esac
