#!/usr/bin/env bash
# Tests the chart: lint, unit tests, values that must be refused, values that must render.
# Needs HELM (helm 3 or 4) and UNTT (helm-unittest's own binary) in the environment.
set -euo pipefail

die() { echo "charts/test.sh: $*" >&2; exit 1; }
tool() { # name of the variable, what it is
  local path=${!1:-}
  [[ -n $path ]] || die "$1 is not set: give the path of $2"
  command -v "$path" >/dev/null || die "$1=$path cannot be run: give the path of $2"
}
tool HELM "helm"
tool UNTT "helm-unittest's binary (untt)"
command -v jq >/dev/null || die "jq is not installed"

cd "$(dirname "$0")"
repo=$(cd .. && pwd)
chart=dbbalance
render() { "$HELM" template dbbalance "$chart" --namespace dbbalance "$@"; }

# refuses <words of the error> <helm arguments>
refuses() {
  local words=$1 out
  shift
  if out=$(render "$@" 2>&1 >/dev/null); then die "not refused: $*"; fi
  [[ $out == *"$words"* ]] || die "refused for another reason: $*"$'\n'"$out"
}

"$HELM" lint --strict --quiet "$chart"
for values in "$chart"/ci/*.yaml; do
  "$HELM" lint --strict --quiet "$chart" --values "$values"
  render --values "$values" >/dev/null
done

# Partitions of AWS differ in the length of a region's first part.
for region in eu-west-1 us-gov-west-1 cn-north-1 us-isob-east-1 eusc-de-east-1; do
  render --set "aws.region=$region" >/dev/null || die "region $region is refused"
done

"$UNTT" --strict "$chart"

# A misspelt key is refused at every level.
paths=$(jq -r 'paths(type == "object" and has("additionalProperties") and .additionalProperties == false)
  | map(select(. != "properties")) | select(index("items") == null) | join(".")' "$chart/values.schema.json")
levels=0
for path in "" $paths; do
  refuses misspelt --set "${path:+$path.}misspelt=1"
  levels=$((levels + 1))
done
((levels > 10)) || die "only $levels levels of values.schema.json found"

# Free for a parent chart.
render --set global.anything.atAll=1 >/dev/null

refuses replicaCount --set replicaCount=two
refuses digest --set image.digest=sha256:abc
refuses pullPolicy --set image.pullPolicy=Sometimes
refuses allowedRoleARNs --set 'aws.allowedRoleARNs={*}'
refuses region --set aws.region=Frankfurt
refuses servers --set 'dns.servers={kube-dns}'
refuses lookupsPerSecond --set dns.lookupsPerSecond=1
refuses actionsPerSecond --set limits.actionsPerSecond=0
# The flag takes whole numbers: half an effect a second would end the operator at its start.
refuses actionsPerSecond --set limits.actionsPerSecond=0.5
refuses watch --set 'watch.namespaces={*}'
refuses clusters --set 'clusters[0].namespaces={shop}'
refuses clusters --set 'clusters[0].identifier=orders-db'
refuses clusters --set 'clusters[0].identifier=*-db,clusters[0].namespaces={shop}'
refuses clusters --set 'clusters[0].identifier=orders-db,clusters[0].roleARN=reader,clusters[0].namespaces={shop}'
refuses clusters --set 'clusters[0].identifier=orders-db,clusters[0].namespace={shop}'
refuses "stands alone" --set 'signal.namespaces={shop,*}'
refuses "not in watch.namespaces" --set 'evidence.namespaces={shop},watch.namespaces={billing}'
refuses "not in watch.namespaces" --set 'signal.namespaces={shop},watch.namespaces={billing}'

# One CRD, two copies: the chart can read only its own files.
if [[ -e $repo/crds/dbbalancepolicies.yaml ]]; then
  cmp "$repo/crds/dbbalancepolicies.yaml" "$chart/files/dbbalancepolicies.yaml" ||
    die "the chart's CRD is not crds/dbbalancepolicies.yaml: run make crds"
fi

# The operator reads every variable of its own that the chart sets, and has every metric that an alert names.
if [[ -e $repo/src/cli.rs ]]; then
  while read -r name; do
    grep -rqw -- "$name" "$repo/src" || die "the operator does not read $name"
  done < <(grep -oE '\b(DBBALANCE_[A-Z_]+|POD_NAME(SPACE)?)\b' "$chart/templates/deployment.yaml" | sort -u)
fi
if [[ -e $repo/src/metrics.rs ]]; then
  while read -r name; do
    stem=${name#dbbalance_}
    grep -qE "\"(dbbalance_)?${stem%_total}(_total)?\"" "$repo/src/metrics.rs" || die "the operator has no metric $name"
  done < <(grep -oE '\bdbbalance_[a-z_]+' "$chart/files/alerts.yaml" | sort -u)
fi
echo "charts: ok ($levels levels of values refuse unknown keys)"
