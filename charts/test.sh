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

# Without names the right would be on every Secret of the namespace.
refuses names --set 'http.headerSecrets[0].namespace=shop'
refuses names --set 'http.headerSecrets[0].namespace=shop' --set-json 'http.headerSecrets[0].names=[]'
refuses names --set 'http.headerSecrets[0].namespace=shop' --set 'http.headerSecrets[0].names={*}'
refuses 'listed twice' --set-json 'http.headerSecrets=[{"namespace":"a","names":["b"]},{"namespace":"a","names":["c"]}]'
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
# What the operator's flags refuse would end it at its start.
for server in 300.1.2.3 10.0.0.10:0 kube-dns:53 5432 'fd00:ec2'; do
  refuses servers --set "dns.servers={$server}"
done
for server in 10.96.0.10 10.96.0.10:5353 'fd00:10::a' '[fd00:10::a]:53'; do
  render --set "dns.servers={$server}" >/dev/null || die "server $server is refused"
done
for url in rds.example.com 'https://' 'http://rds example' 'ftp://rds.example.com'; do
  refuses rdsEndpointURL --set "aws.rdsEndpointURL=$url"
done
render --set aws.rdsEndpointURL=https://vpce-1.rds.eu-west-1.vpce.amazonaws.com/ >/dev/null
refuses filter --set logging.filter=dbbalance=loud
render --set 'logging.filter=info\,dbbalance=DEBUG' >/dev/null
refuses fullnameOverride --set fullnameOverride=Db_Balance
refuses watch --set 'watch.namespaces={*}'
refuses clusters --set 'clusters[0].namespaces={shop}'
refuses clusters --set 'clusters[0].identifier=orders-db'
refuses clusters --set 'clusters[0].identifier=*-db,clusters[0].namespaces={shop}'
refuses clusters --set 'clusters[0].identifier=orders-db,clusters[0].roleARN=reader,clusters[0].namespaces={shop}'
refuses clusters --set 'clusters[0].identifier=orders-db,clusters[0].namespace={shop}'
refuses "stands alone" --set 'signal.namespaces={shop,*}'
refuses "not in watch.namespaces" --set 'evidence.namespaces={shop},watch.namespaces={billing}'
refuses "not in watch.namespaces" --set 'signal.namespaces={shop},watch.namespaces={billing}'

# A name by which nothing could be steered, or a right that could not be used.
refuses name --set 'steering.services[0].namespace=shop'
refuses name --set 'steering.services[0].namespace=shop,steering.services[0].name=*'
refuses endpoint --set 'steering.slices[0].name=orders-ro'
refuses slices --set 'steering.slices[0].name=Orders,steering.slices[0].endpoint=a.cluster-ro-x.eu-west-1.rds.amazonaws.com'
refuses 'listed twice' --set-json 'steering.slices=[{"name":"a","endpoint":"b.c"},{"name":"a","endpoint":"d.e"}]'
refuses "not in watch.namespaces" --set 'watch.namespaces={billing}' \
  --set 'steering.services[0].namespace=shop,steering.services[0].name=orders-ro'
for range in 10.0.0.0 0.0.0.0/0 10.0.0.0/33 300.0.0.0/8 fd00::/8; do
  refuses allowedCIDRs --set "steering.allowedCIDRs={$range}"
done
refuses allowedCIDRs --set-json 'steering.allowedCIDRs=[]'
refuses clusterDomain --set dns.clusterDomain=cluster.local.

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
