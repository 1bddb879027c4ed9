#!/usr/bin/env bash
# The demo: an Aurora cluster gets a reader and fails over, and the pods of an app follow. Started by `make demo`.
#
# On this machine (default), as root: a stand named dbb-demo, with moto as the RDS API.
#   LAB    the stand's program        IMAGE  the operator's image, an OCI archive
# In the Kubernetes that kubectl points at, with CLUSTER=current: two namespaces, removed at the end.
#   DEMO_IMAGE        the operator's image, which that Kubernetes can pull or has (required)
#   DEMO_APP_IMAGE    any image with sh, for the app             (default busybox:1.37)
#   MOTO_IMAGE        moto, run as a pod                         (default motoserver/moto:5.2.5)
#   RDS_ENDPOINT_URL  a moto that runs already, reached from the pods and from here, instead of that pod
#   YES=1             do not ask whether the context is the right one
# A real AWS account is never called: a demo must not create or fail over what somebody pays for.
#
# KEEP=1 leaves all running, FAST=1 skips the pauses for reading, NO_COLOR is respected.
set -euo pipefail
export LC_ALL=C

readonly STAND=dbb-demo REGION=eu-west-1 DB=orders-prod POLICY=orders
# Reading pace of 6 pods at one a step of 2 s, and the poller's 5 s; the rest is for a busy machine.
readonly FOLLOW_SECONDS=120
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly here
CLUSTER=${CLUSTER:-stand} KEEP=${KEEP:-} FAST=${FAST:-}
step='before the first step' work='' began=$EPOCHREALTIME made='' watchers=()

# ---- how it looks ----------------------------------------------------------------------------------------------

tty=''
[[ -t 1 ]] && tty=1
bold='' dim='' green='' red='' cyan='' off=''
if [[ $tty && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' cyan=$'\e[36m' off=$'\e[0m'
fi

# Seconds since $1, with one digit.
since() {
  local us=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
  printf '%d.%d' $((us / 10)) $((us % 10))
}

say() { printf '      %s\n' "$*"; }
note() { printf '      %s%s%s\n' "$dim" "$*" "$off"; }
# A command as a user would type it.
typed() { printf '      %s$ %s%s\n' "$cyan" "$*" "$off"; }
# What is overwritten by the next line on a terminal, and left out elsewhere.
passing() { [[ ! $tty ]] || printf '\r\e[K      %s%s%s' "$dim" "${1:0:90}" "$off"; }
passed() { [[ ! $tty ]] || printf '\r\e[K'; }
# Time to read; only people need it.
pace() { [[ ! $tty || $FAST ]] || sleep "$1"; }
indent() { fold -s -w 92 | sed 's/^/      /'; }

step_began=''
begin() {
  step=$2 step_began=$EPOCHREALTIME
  printf '\n%s[%s/8] %s%s\n' "$bold" "$1" "$2" "$off"
}
finish() {
  passed
  printf '      %sdone%s %s(%s s)%s\n' "$green" "$off" "$dim" "$(since "$step_began")" "$off"
}

# ---- how it ends -----------------------------------------------------------------------------------------------

usage() {
  trap - EXIT
  printf 'demo: %s\n' "$@" >&2
  exit 2
}

die() {
  passed
  printf '%s      %s%s\n' "$red" "$*" "$off" >&2
  exit 1
}

# Runs a command silently; what it said is shown if it fails.
quiet() {
  "$@" >"$work/said" 2>&1 </dev/null || {
    passed
    tail -n 15 "$work/said" | cut -c 1-400 | indent >&2
    return 1
  }
}

unfollow() {
  ((${#watchers[@]} == 0)) || kill "${watchers[@]}" 2>/dev/null || true
  watchers=()
}

# What may tell why a step failed.
explain() {
  [[ $made ]] || return 0
  {
    printf '\n%sPods%s\n' "$bold" "$off"
    for ns in "$OPERATOR_NS" "$APP_NS"; do
      kc -n "$ns" get pods --no-headers --request-timeout=5s 2>&1 | head -n 8 | cut -c 1-92 | sed 's/^/      /'
    done
    printf '%sThe policy%s\n' "$bold" "$off"
    kc -n "$APP_NS" get dbp "$POLICY" --request-timeout=5s -o jsonpath="$CONDITIONS" 2>&1 | head -n 8 | tr '\t' ' ' | indent
    printf '%sThe operator, last lines%s\n' "$bold" "$off"
    kc -n "$OPERATOR_NS" logs -l app.kubernetes.io/name=dbbalance --tail=6 --request-timeout=5s 2>&1 |
      tail -n 8 | cut -c 1-270 | indent
  } >&2
}

# Takes away what this demo made, and nothing else.
remove() {
  if [[ $CLUSTER == stand ]]; then
    lab down --name "$STAND" >/dev/null
    # In a trap a bare return gives the status from before it.
    return $?
  fi
  local ns instance RDS_ENDPOINT_URL
  # A moto of somebody's: the cluster that was made in it is noted on the namespace. A pod takes its own along.
  RDS_ENDPOINT_URL=$(kc get namespace "$OPERATOR_NS" --ignore-not-found -o jsonpath='{.metadata.annotations.dbbalance\.io/demo-rds}')
  if [[ $RDS_ENDPOINT_URL ]]; then
    for instance in "$DB"-{3,2,1}; do
      rds_call DeleteDBInstance DBInstanceIdentifier="$instance" SkipFinalSnapshot=true 2>/dev/null || true
    done
    rds_call DeleteDBCluster DBClusterIdentifier="$DB" SkipFinalSnapshot=true || true
  fi
  # The policy first: the operator must not see its pods go.
  owned "$APP_NS" && kc delete namespace "$APP_NS" --wait --timeout=90s >/dev/null
  if owned "$OPERATOR_NS"; then
    hm uninstall dbbalance -n "$OPERATOR_NS" --ignore-not-found --wait --timeout 60s >/dev/null 2>&1
    kc delete namespace "$OPERATOR_NS" --wait --timeout=90s >/dev/null
  fi
  # The chart keeps the CRD on purpose, as deleting it deletes all policies. Here it is the demo's own.
  if crd_is_ours; then
    if [[ $(kc get dbp -A -o name 2>/dev/null) ]]; then
      say "The CRD $CRD stays: there are other policies by now."
    else
      kc delete crd "$CRD" >/dev/null
    fi
  fi
  for ns in "$APP_NS" "$OPERATOR_NS"; do
    ! owned "$ns" || return 1
  done
}

how_to_stop() {
  if [[ $CLUSTER == stand ]]; then
    echo "make stand-down STAND=$STAND"
  else
    echo "CLUSTER=current STOP=1 make demo"
  fi
}

reading='' interrupted=''
on_signal() {
  [[ $reading ]] || exit "$1"
  interrupted=$1
}

at_exit() {
  local code=$?
  trap '' INT TERM HUP PIPE
  set +e
  # A signal may have come while a step's output went to a file.
  exec >&4 2>&5
  passed
  unfollow
  if [[ $code -ge 128 ]]; then
    printf '\n%sStopped.%s\n' "$bold" "$off"
  elif [[ $code -ne 0 ]]; then
    printf '\n%sThe demo failed at: %s%s\n' "$red$bold" "$step" "$off" >&2
    explain
  fi
  if [[ $made ]]; then
    # Ctrl-C always cleans up: who presses it wants to be rid of it.
    if [[ $KEEP && $code -lt 128 ]]; then
      printf '\nAll of it still runs (KEEP=1). Take it away with: %s\n' "$(how_to_stop)"
    else
      local from=$EPOCHREALTIME
      passing 'taking everything away'
      if remove; then
        passed
        printf '\nEverything is taken away again (%s s).\n' "$(since "$from")"
      else
        passed
        printf '\n%sNot everything could be taken away. Again with: %s%s\n' "$red" "$(how_to_stop)" "$off" >&2
        [[ $code -ne 0 ]] || code=1
      fi
    fi
  fi
  [[ ! $work ]] || rm -rf "$work"
  exit "$code"
}

# ---- Kubernetes and RDS, by either way -------------------------------------------------------------------------

# Without the demo's own descriptors: what a stand starts outlives the demo with KEEP=1.
lab() { "$LAB" "$@" 3<&- 4>&- 5>&- 9>&-; }
if [[ $CLUSTER == stand ]]; then
  kc() { lab shell --name "$STAND" -- kubectl "$@"; }
  hm() { lab shell --name "$STAND" -- helm "$@"; }
else
  kc() { kubectl --context "$context" "$@"; }
  hm() { helm --kube-context "$context" "$@"; }
fi

readonly CRD=dbbalancepolicies.dbbalance.io
readonly CONDITIONS='{range .status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{"\t"}{.message}{"\n"}{end}'

# A namespace that a demo made, by its label.
owned() { [[ $(kc get namespace "$1" --ignore-not-found -o jsonpath='{.metadata.labels.dbbalance\.io/demo}') == true ]]; }
crd_is_ours() {
  [[ $(kc get crd "$CRD" --ignore-not-found -o jsonpath='{.metadata.annotations.meta\.helm\.sh/release-namespace}') == "$OPERATOR_NS" ]]
}

# rds ACTION NAME=VALUE…: one call to moto, which takes any signature.
rds_call() {
  local body="Action=$1&Version=2014-10-31" auth url=${RDS_ENDPOINT_URL:-http://127.0.0.1:5000}
  shift
  local pair
  for pair; do body="$body&$pair"; done
  auth="AWS4-HMAC-SHA256 Credential=demo/20260101/$REGION/rds/aws4_request, SignedHeaders=host, Signature=0"
  if [[ ${RDS_ENDPOINT_URL:-} ]]; then
    quiet curl -sS --fail-with-body --max-time 20 -H "Authorization: $auth" -d "$body" "$url/"
  else
    quiet kc -n "$OPERATOR_NS" exec moto -- python3 -c 'import sys, urllib.request as u
u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode(), {"Authorization": sys.argv[3]}), timeout=20).read()' \
      "$url/" "$body" "$auth"
  fi
}
if [[ $CLUSTER == stand ]]; then
  create_cluster() { quiet lab rds --name "$STAND" create-cluster "$DB"; }
  add_instance() { quiet lab rds --name "$STAND" add-instance "$DB" "$1"; }
  failover() { quiet lab rds --name "$STAND" failover "$DB" --to "$1"; }
else
  create_cluster() {
    # moto would put a new cluster in its place without a word.
    ! rds_call DescribeDBClusters DBClusterIdentifier="$DB" 2>/dev/null ||
      die "the RDS API at $endpoint has a cluster $DB already: it is left alone, and so the demo ends"
    rds_call CreateDBCluster DBClusterIdentifier="$DB" Engine=aurora-postgresql MasterUsername=demo \
      MasterUserPassword=demo-password
  }
  add_instance() {
    rds_call CreateDBInstance DBInstanceIdentifier="$1" DBClusterIdentifier="$DB" DBInstanceClass=db.r6g.large \
      Engine=aurora-postgresql
  }
  failover() { rds_call FailoverDBCluster DBClusterIdentifier="$DB" TargetDBInstanceIdentifier="$1"; }
fi

# Waits for a Deployment or pod, telling how far it is.
await() {
  local ns=$1 what=$2 line
  kc -n "$ns" rollout status "$what" --timeout=90s 2>"$work/said" </dev/null | while read -r line; do
    passing "$line"
  done || {
    passed
    indent <"$work/said" >&2
    return 1
  }
  passed
}

# ---- following a change ----------------------------------------------------------------------------------------

# One stream of lines from four watches (kubectl turns tabs into blanks, so | parts them); each line is shorter than what a pipe takes at once.
watch_all() {
  mkfifo "$work/stream"
  exec 3<>"$work/stream"
  local rows='dbp|{.status.topology.writer}|{.status.topology.readerCount}|{.status.epoch}|'
  rows+='{.status.stale}|{.status.conditions[?(@.type=="Fresh")].status}|'
  rows+='{.status.conditions[?(@.type=="Recycling")].status}|'
  rows+='{.status.conditions[?(@.type=="Ready")].status}{"\n"}'
  local pods='pod|{.metadata.name}|{.metadata.annotations.dbbalance\.io/epoch}{"\n"}'
  local events='event|{.metadata.name}|{.type}|{.reason}|{.message}{"\n"}'
  watch_one get dbp "$POLICY" -w -o jsonpath="$rows"
  watch_one get pods -l app=web -w -o jsonpath="$pods"
  watch_one get events --field-selector "involvedObject.name=$POLICY" -w -o jsonpath="$events"
  watch_one logs -l app=web -f --prefix --tail=1 --max-log-requests 20
}
watch_one() {
  # In place of a subshell, so that the recorded process is kubectl's own.
  if [[ $CLUSTER == stand ]]; then
    exec_in=("$LAB" shell --name "$STAND" -- kubectl)
  else
    exec_in=(kubectl --context "$context")
  fi
  "${exec_in[@]}" -n "$APP_NS" "$@" >&3 2>>"$work/watch.err" </dev/null 9>&- &
  watchers+=($!)
}

row() { printf '  %7s  %s%-6s%s %s\n' "$1" "$cyan" "$2" "$off" "$3"; }
# A long text beside its time and kind, folded.
rows() {
  local first=1 line
  while IFS= read -r line; do
    if [[ $first ]]; then row "$1" "$2" "$line"; else row '' '' "$line"; fi
    first=''
  done < <(fold -s -w 80 <<<"$3")
}

declare -A seen=() stamp=() signals=()
policy_row='%-7s %-12s %-14s %-8s %-6s %-6s %-6s %s'

# Reads the stream until the pods are at an epoch and have caught that many signals. With $3 silent: only learns.
follow() {
  local epoch=$1 caught=$2 silent=${3:-} from=$EPOCHREALTIME at line a b c d e f g done_pods=0 succeeded='' state=''
  local last_dbp='' name ready
  declare -A told=()
  while :; do
    if [[ $silent ]]; then
      [[ ! ($last_dbp && ${#stamp[@]} -ge 6 && ${#signals[@]} -ge 6 && ${#seen[@]} -ge 1) ]] || return 0
    elif [[ $succeeded && $done_pods -ge 6 && $state == 0/6 ]]; then
      return 0
    fi
    if (($(since "$from" | cut -d. -f1) >= FOLLOW_SECONDS)); then
      die "no end after $FOLLOW_SECONDS s: $done_pods of 6 pods were recycled for epoch $epoch"
    fi
    # bash 5.2 crashes some seconds after an exit out of a trap within read -t, so the signal waits for its end.
    reading=1
    read -r -t 1 -u 3 line || line=''
    reading=''
    [[ ! $interrupted ]] || exit "$interrupted"
    [[ $line ]] || continue
    at="$(since "$from") s"
    case $line in
      'dbp|'*)
              IFS='|' read -r _ a b c d e f g <<<"$line"
        state=''
        [[ $c != "$epoch" || $f == True ]] || state=$d
        if [[ $last_dbp != "$line" ]]; then
          last_dbp=$line
          # shellcheck disable=SC2059 # one format for the head and the rows
          [[ $silent ]] || row "$at" dbp "$(printf "$policy_row" "$POLICY" "$DB" "$a" "$b" "$c" "$d" "$e" "$g")"
        fi
        ;;
      'event|'*)
        IFS='|' read -r _ name a b c <<<"$line"
        [[ ! ${seen[$name]:-} ]] || continue
        seen[$name]=1
        [[ ! $silent ]] || continue
        [[ $b != RunSucceeded ]] || succeeded=1
        # Said in full a moment before, as the epoch settled.
        [[ $b != EpochOpened ]] || c=${c%%:*}
        rows "$at" event "$b: $c"
        [[ $b != RunHalted ]] || die 'the run has halted'
        ;;
      'pod|'*)
        IFS='|' read -r _ name a <<<"$line"
        stamp[$name]=$a
        ;;
      \[pod/*\]*)
        name=${line#*/} name=${name%%/*}
        signals[$name]=${signals[$name]:-0}
        [[ $line != *'signal HUP '* ]] || signals[$name]=${line##* }
        ;;
    esac
    [[ ! $silent && ${name:-} && ${stamp[$name]:-} ]] || continue
    ready=${stamp[$name]#*/}
    if [[ ! ${told[$name]:-} && ${ready%%-*} == "$epoch" && ${signals[$name]:-0} -ge $caught ]]; then
      told[$name]=1 done_pods=$((done_pods + 1))
      row "$at" pod "$(printf '%-24s HUP caught, stamped %-10s %s%d of 6%s' "$name" "$ready" "$green" "$done_pods" "$off")"
    fi
  done
}

# The heading of the policy's rows.
columns() {
  # shellcheck disable=SC2059
  printf '%s%18s%s%s\n' "$dim" '' "$(printf "$policy_row" NAME CLUSTER WRITER READERS EPOCH STALE FRESH READY)" "$off"
}

# ---- before anything is made -----------------------------------------------------------------------------------

check_stand() {
  OPERATOR_NS=dbbalance APP_NS=shop
  [[ ${LAB:-} ]] || usage 'LAB is not set: start the demo with: make demo'
  [[ -x $LAB ]] || usage "the stand's program $LAB is missing: start the demo with: make demo"
  [[ ${IMAGE:-} ]] || usage "IMAGE is not set: start the demo with: make demo"
  [[ -r $IMAGE ]] || usage "the operator's image $IMAGE is missing: build it with: make image"
  ((EUID == 0)) || usage 'network namespaces and containers need root: start the demo with: make demo'
  LAB=$(realpath "$LAB") IMAGE=$(realpath "$IMAGE")
  # Two at once would take each other's stand away.
  exec 9>"/run/$STAND.lock"
  flock -n 9 || usage "another demo runs on this machine: let it end, or stop it with Ctrl-C"
}

check_current() {
  OPERATOR_NS=dbbalance-demo APP_NS=dbbalance-demo-shop
  local program answer
  for program in kubectl helm; do
    command -v "$program" >/dev/null || usage "CLUSTER=current needs $program in the PATH"
  done
  [[ ! ${RDS_ENDPOINT_URL:-} ]] || command -v curl >/dev/null || usage 'RDS_ENDPOINT_URL needs curl in the PATH'
  context=$(kubectl config current-context 2>/dev/null) ||
    usage 'kubectl has no current context: choose one with: kubectl config use-context NAME'
  [[ ${DEMO_IMAGE:-} || ${STOP:-} ]] || usage \
    'CLUSTER=current needs DEMO_IMAGE=REPOSITORY:TAG, the operator'"'"'s image as your Kubernetes gets it.' \
    'make image writes target/image/dbbalance.tar. Push it to a registry of yours:' \
    '  skopeo copy oci-archive:target/image/dbbalance.tar docker://REPOSITORY:TAG' \
    'or load it into kind: kind load image-archive target/image/dbbalance.tar' \
    '(DEMO_IMAGE=localhost/dbbalance:dev)'
  [[ ${RDS_ENDPOINT_URL:-} != *amazonaws.com* ]] || usage \
    'RDS_ENDPOINT_URL is AWS itself. The demo makes clusters and fails them over, so it calls only moto.' \
    'To see your own cluster: install the chart and create a policy with mode: Observe.'
  printf 'Kubernetes   context %s%s%s, %s\n' "$bold" "$context" "$off" \
    "$(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}')"
  printf 'Namespaces   %s and %s, made and removed by the demo, as is the CRD\n' "$OPERATOR_NS" "$APP_NS"
  kc get --raw /readyz --request-timeout=10s >/dev/null || usage "the context $context does not answer"
  local ns
  for ns in "$OPERATOR_NS" "$APP_NS"; do
    [[ ! $(kc get namespace "$ns" --ignore-not-found -o name) ]] || owned "$ns" ||
      usage "the namespace $ns exists and is not of a demo: it is left alone, and so nothing is done"
  done
  [[ ! $(kc get crd "$CRD" --ignore-not-found -o name) ]] || crd_is_ours || usage \
    "this Kubernetes has dbbalance already (CRD $CRD)." \
    'Two operators would follow one policy: use another Kubernetes for the demo.'
  [[ ! ${YES:-} ]] || return 0
  [[ -t 0 ]] || usage "to change the Kubernetes of context $context without a question, set YES=1"
  read -rp 'Go on? [y/N] ' answer
  [[ $answer == [yY]* ]] || { trap - EXIT; echo 'Nothing was done.'; exit 1; }
}

exec 4>&1 5>&2
trap at_exit EXIT
trap 'on_signal 129' HUP
trap 'on_signal 130' INT
trap 'on_signal 141' PIPE
trap 'on_signal 143' TERM

printf '%sdbbalance: an Aurora cluster changes, and the connection pools of the pods follow%s\n\n' "$bold" "$off"
case $CLUSTER in
  stand)
    check_stand
    printf 'Kubernetes   a real one of its own on this machine (stand %s), in a network without a way out\n' "$STAND"
    printf 'Aurora       the RDS API by moto; no AWS account, no database\n'
    ;;
  current) check_current ;;
  *) usage "CLUSTER=$CLUSTER is unknown: leave it out, or set it to current" ;;
esac
printf 'To stop      Ctrl-C at any time; nothing stays\n'
[[ ! $KEEP ]] || printf 'Afterwards   all is left running (KEEP=1)\n'
readonly OPERATOR_NS APP_NS
work=$(mktemp -d -t dbb-demo.XXXXXX)

if [[ ${STOP:-} ]]; then
  [[ $CLUSTER == current ]] || usage "STOP=1 is for CLUSTER=current; here: $(how_to_stop)"
  KEEP='' made=1
  exit 0
fi

# ---- 1: Kubernetes and RDS -------------------------------------------------------------------------------------

labelled() {
  kc create namespace "$1" --dry-run=client -o yaml | kc label -f - --local -o yaml dbbalance.io/demo=true |
    quiet_in kc create -f -
}
quiet_in() { "$@" >"$work/said" 2>&1 || { tail -n 5 "$work/said" | indent >&2; return 1; }; }

if [[ $CLUSTER == stand ]]; then
  begin 1 'Start Kubernetes and the RDS API'
  if [[ -e ${DBBALANCE_LAB_DIR:-/run/dbbalance-lab}/$STAND ]]; then
    say "A stand $STAND of an earlier demo is still there: it is taken down, to begin anew."
    lab down --name "$STAND" >/dev/null
  fi
  made=1
  passing 'etcd, API server, scheduler, controllers, containerd, kubelet'
  quiet lab up --name "$STAND"
  passing 'moto'
  quiet lab rds up --name "$STAND"
  endpoint=http://198.18.0.1:5000 pull=Never app_image=localhost/dbbalance-testapp:1
  passed
  say "Kubernetes $(kc version -o json | sed -n '/serverVersion/,$s/.*"gitVersion": "\(.*\)".*/\1/p'), RDS API at $endpoint"
  finish

  begin 2 'Load the images'
  passing "the operator's"
  lab image load "$IMAGE" --name "$STAND" >"$work/name" 2>"$work/said" || { indent <"$work/said" >&2; exit 1; }
  operator_image=$(head -n 1 "$work/name")
  passing "the app's"
  quiet lab image build testapp --out "$work/testapp.tar"
  quiet lab image load "$work/testapp.tar" --name "$STAND"
  passed
  say "$operator_image ($(($(stat -c %s "$IMAGE") / 1048576)) MiB) and $app_image"
  finish
else
  begin 1 'Start the RDS API'
  if owned "$OPERATOR_NS" || owned "$APP_NS" || crd_is_ours; then
    say 'An earlier demo is still there: it is taken away, to begin anew.'
    made=1
    remove
  fi
  made=1
  labelled "$OPERATOR_NS"
  labelled "$APP_NS"
  endpoint=${RDS_ENDPOINT_URL:-} pull=IfNotPresent
  if [[ ! $endpoint ]]; then
    passing 'moto, as a pod'
    quiet kc -n "$OPERATOR_NS" run moto --image="${MOTO_IMAGE:-motoserver/moto:5.2.5}" --port=5000 --restart=Always \
      --overrides='{"spec":{"automountServiceAccountToken":false,"enableServiceLinks":false}}'
    quiet kc -n "$OPERATOR_NS" wait --for=condition=Ready pod/moto --timeout=120s
    # By address: it needs no Service, and a moto that starts anew has forgotten all anyway.
    endpoint=http://$(kc -n "$OPERATOR_NS" get pod moto -o jsonpath='{.status.podIP}'):5000
    passed
  fi
  say "RDS API at $endpoint (moto; no AWS account, no database)"
  finish
  begin 2 'Choose the images'
  operator_image=$DEMO_IMAGE app_image=${DEMO_APP_IMAGE:-busybox:1.37}
  say "$operator_image and $app_image"
  finish
fi

# ---- 3: the operator -------------------------------------------------------------------------------------------

begin 3 'Install the operator with its Helm chart: two replicas, one leads'
values=(--set-string "image.repository=${operator_image%:*}" --set-string "image.tag=${operator_image##*:}"
  --set "image.pullPolicy=$pull" --set "signal.namespaces={$APP_NS}"
  --set logging.format=text --set "aws.region=$REGION" --set "aws.rdsEndpointURL=$endpoint"
  --set 'extraEnv[0].name=AWS_ACCESS_KEY_ID' --set 'extraEnv[0].value=demo'
  --set 'extraEnv[1].name=AWS_SECRET_ACCESS_KEY' --set 'extraEnv[1].value=demo')
if [[ $CLUSTER == current ]]; then
  values+=(--set "watch.namespaces={$APP_NS}" --set rbac.aggregateClusterRoles=false)
fi
typed "helm install dbbalance charts/dbbalance -n $OPERATOR_NS \\"
say "${cyan}    --set signal.namespaces={$APP_NS} ...$off"
[[ $CLUSTER == current ]] || quiet kc create namespace "$APP_NS"
quiet hm install dbbalance "$here/charts/dbbalance" -n "$OPERATOR_NS" --create-namespace "${values[@]}"
await "$OPERATOR_NS" deployment/dbbalance
finish

# ---- 4: the app and its cluster --------------------------------------------------------------------------------

begin 4 "An Aurora cluster $DB, and an app with pools to it"
create_cluster
if [[ ${RDS_ENDPOINT_URL:-} && $CLUSTER == current ]]; then
  quiet kc annotate namespace "$OPERATOR_NS" "dbbalance.io/demo-rds=$RDS_ENDPOINT_URL"
fi
add_instance "$DB-1"
add_instance "$DB-2"
say "$DB: writer $DB-1, reader $DB-2"
if [[ $CLUSTER == stand ]]; then
  container="ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}"
else
  container=$(
    cat <<'YAML'
command: [sh, -c]
          args:
            - |
              n=0
              trap 'n=$((n+1)); echo signal HUP $n' HUP
              trap 'exit 0' TERM
              echo app begins
              touch /tmp/ready
              while :; do sleep 3600 & wait $!; done
          readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}
YAML
  )
fi
quiet_in kc -n "$APP_NS" create -f - <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      containers:
        - name: app
          image: $app_image
          imagePullPolicy: $pull
          $container
YAML
await "$APP_NS" deployment/web
say 'web: 6 pods. The app counts the signals it catches; a real one renews its pools on each.'
finish

# ---- 5: the policy ---------------------------------------------------------------------------------------------

begin 5 'A policy ties the two together'
cat >"$work/policy.yaml" <<YAML
apiVersion: dbbalance.io/v1alpha1
kind: DbBalancePolicy
metadata: {name: $POLICY, namespace: $APP_NS}
spec:
  cluster: {identifier: $DB}
  # moto's endpoints lead nowhere.
  dns: {onTimeout: Proceed, timeoutSeconds: 0}
  targets:
    - name: web
      workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}
      pools:
        - {endpoint: Reader, connectionsPerPod: 10}
        - {endpoint: Writer, connectionsPerPod: 5}
      recycle:
        method: Signal
        signal: {name: HUP}
  # Short, for a demo. Defaults: 30 s to settle, 10 s between steps, 300 s between runs.
  triggers: {readerAdded: {settleSeconds: 3}, readerRemoved: {settleSeconds: 3}}
  pacing: {intervalSeconds: 2}
  limits: {cooldownSeconds: 0}
YAML
typed 'kubectl apply -f policy.yaml'
sed "s/^/      $dim/; s/\$/$off/" "$work/policy.yaml"
pace 3
quiet kc apply -f "$work/policy.yaml"
passing 'the operator reads the cluster for the first time'
quiet kc -n "$APP_NS" wait --for=condition=Ready "dbp/$POLICY" --timeout=60s
passed
typed 'kubectl get dbp'
kc -n "$APP_NS" get dbp | cut -c 1-94 | sed 's/^/      /'
say 'What it finds first is the baseline, epoch 1: nothing is recycled for it.'
finish
pace 3

# ---- 6 and 7: changes ------------------------------------------------------------------------------------------

begin 6 "Auto scaling adds a reader, $DB-3"
note 'By itself it would stay idle: the pools are connected, and none looks up DNS again.'
watch_all
follow 1 0 silent
columns
row '0.0 s' rds "$DB-3 is added"
add_instance "$DB-3"
follow 2 1
finish
pace 5

begin 7 "A failover: $DB-2 becomes the writer"
note 'Pools hold healthy sockets to the old writer, where writes now fail.'
columns
row '0.0 s' rds "fail over to $DB-2"
failover "$DB-2"
follow 3 2
finish
unfollow
pace 5

# ---- 8: the proof ----------------------------------------------------------------------------------------------

begin 8 "Proof, from the app's side: one signal for each change, never more"
kc -n "$APP_NS" get pods -l app=web -o jsonpath='{range .items[*]}{.metadata.name}{"|"}{.metadata.annotations.dbbalance\.io/epoch}{"|"}{.metadata.annotations.dbbalance\.io/recycles}{"|"}{.metadata.annotations.dbbalance\.io/writer}{"|"}{.status.containerStatuses[0].restartCount}{"\n"}{end}' >"$work/pods"
printf '      %s%-22s %-10s %-13s %-9s %-15s %s%s\n' "$dim" POD "HUP CAUGHT" STAMP RECYCLES "KNOWS WRITER" RESTARTS "$off"
wrong=''
while IFS='|' read -r pod pod_stamp recycles writer restarts; do
  count=$(kc -n "$APP_NS" logs "$pod" </dev/null | grep -c '^signal HUP ' || true)
  printf '      %-22s %-10s %-13s %-9s %-15s %s\n' "$pod" "$count" "${pod_stamp#*/}" "$recycles" "$writer" "$restarts"
  [[ $count == 2 && $recycles == 2 && $restarts == 0 ]] || wrong+=" $pod"
done <"$work/pods"
[[ ! $wrong ]] || die "2 signals, 2 recycles and no restart were expected of each pod, not so:$wrong"
pace 4
printf '\n'
typed "kubectl describe dbp $POLICY    (shortened)"
kc -n "$APP_NS" get dbp "$POLICY" -o jsonpath="$CONDITIONS" | while IFS=$'\t' read -r type value reason message; do
  printf '      %-18s%-8s %-13s ' "$type" "$value" "$reason"
  fold -s -w 52 <<<"$message" | sed '2,$s/^/                                               /'
done
kc -n "$APP_NS" get dbp "$POLICY" -o jsonpath='{range .status.plan[*]}Plan for {.target}: {.action} {.message}{"\n"}{end}{range .status.history[*]}Run for epoch {.epoch}, {.triggers[*]}: {.recycled} of {.pods} pods, {.failed} failed, {.result}, {.startTime} to {.endTime}{"\n"}{end}' | sed 's/ *$//' | indent
finish

# ---- what next -------------------------------------------------------------------------------------------------

printf '\n%sAll of it took %s s.%s\n' "$bold" "$(since "$began")" "$off"
if [[ ! $KEEP ]]; then
  printf 'Look around yourself: KEEP=1 make demo\n'
  exit 0
fi
printf '\n%sTry next%s\n' "$bold" "$off"
if [[ $CLUSTER == stand ]]; then
  # From the folder of the checkout, short if it can be.
  short=${LAB#"$PWD/"} sudo=${SUDO_USER:+sudo -E }
  note 'a shell in the stand, and the rest in there'
  typed "${sudo}$short shell --name $STAND"
  note 'a reader leaves'
  typed "$short rds delete-instance $DB-3"
  note 'back to the first writer'
  typed "$short rds failover $DB --to $DB-1"
fi
note 'recycle all pods once'
typed "kubectl -n $APP_NS annotate dbp $POLICY --overwrite dbbalance.io/recycle-requested=\$(date +%s)"
note 'pause, and go on'
typed "kubectl -n $APP_NS annotate dbp $POLICY dbbalance.io/pause-until=2099-01-01T00:00:00Z"
typed "kubectl -n $APP_NS annotate dbp $POLICY dbbalance.io/pause-until-"
note 'look'
typed "kubectl -n $APP_NS get dbp -w"
typed "kubectl -n $APP_NS describe dbp $POLICY"
