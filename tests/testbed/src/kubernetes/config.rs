//! Configuration files of containerd, CNI, the kubelet and the audit log, all pointing into the state folder.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::layout::{
    BRIDGE, CLUSTER_DOMAIN, DNS_SERVICE_IP, FIRST_POD_IP, LAST_POD_IP, Layout, NODE_IP, POD_RANGE,
    SERVICE_RANGE,
};
use crate::image;
use crate::program;
use crate::tools::debian::CNI_PLUGINS;

/// Enough for the largest test (60 pods, rolled twice) several times over.
const MAX_PODS: u32 = 200;

/// Writes them all.
pub fn write_configuration(layout: &Layout) -> Result<()> {
    write_file(&layout.path("containerd.toml"), &containerd_config(layout)?)?;
    fs::create_dir_all(layout.path("cni.d"))
        .context("cannot make the folder of the CNI configuration")?;
    write_file(
        &layout.path("cni.d/10-testbed.conflist"),
        &to_pretty_json(&cni_config(layout))?,
    )?;
    write_file(
        &layout.path("kubelet.yaml"),
        &to_pretty_json(&kubelet_config(layout))?,
    )?;
    write_file(
        &layout.path("audit-policy.yaml"),
        &to_pretty_json(&audit_policy())?,
    )
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// JSON is YAML.
fn to_pretty_json(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

fn containerd_config(layout: &Layout) -> Result<String> {
    let folder = layout.folder();
    let (folder, socket) = (folder.display(), layout.containerd_socket());
    let (socket, runc, pause) = (
        socket.display(),
        program::require_program("runc")?,
        image::PAUSE,
    );
    let runc = runc.display();
    // opt: would make /opt/containerd. The snapshotters: need file systems that are not there, and say so loudly.
    // restrict_oom_score_adj: without CAP_SYS_RESOURCE a negative score is refused and every sandbox fails.
    // netns_mounts_under_state_dir: else pods' namespaces are in /var/run/netns and outlive a kill.
    Ok(format!(
        r#"version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{folder}/cni.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{runc}"
        Root = "{folder}/runc"
"#
    ))
}

fn cni_config(layout: &Layout) -> Value {
    json!({
        "cniVersion": "0.4.0", "name": layout.cgroup(),
        "plugins": [{
            // No gateway, no masquerade: pods have no way out.
            "type": "bridge", "bridge": BRIDGE, "isGateway": false, "ipMasq": false, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": layout.path("cni"),
                "ranges": [[{
                    "subnet": POD_RANGE, "rangeStart": FIRST_POD_IP, "rangeEnd": LAST_POD_IP, "gateway": NODE_IP}]],
                "routes": [{"dst": SERVICE_RANGE}],
            },
        }],
    })
}

fn kubelet_config(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "address": NODE_IP,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": layout.pki("kubelet.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        // Two testbeds must not share the cgroup `kubepods`; and no systemd is asked for anything.
        "cgroupRoot": format!("/{}", layout.cgroup()),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "resolvConf": "",
        // Pods' default policy, ClusterFirst: search the cluster's domain first, five dots make a name whole.
        "clusterDNS": [DNS_SERVICE_IP], "clusterDomain": CLUSTER_DOMAIN,
        "podLogsDir": layout.path("pod-logs"),
        "volumePluginDir": layout.path("volume-plugins"),
        // Images come from files and could not be pulled again; a full disk of the machine is not this node's.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
        // How long a changed ConfigMap takes to reach a file; the default of a minute is a test's whole time.
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "2s",
        // The kubelet's own chains would stay behind, and nothing here needs them.
        "makeIPTablesUtilChains": false,
        "maxPods": MAX_PODS,
        // Defaults (50 a second, one pull at a time) make dozens of pods start one after the other.
        "serializeImagePulls": false,
        "kubeAPIQPS": 300, "kubeAPIBurst": 600,
        "eventRecordQPS": 300, "eventBurst": 600,
        // A crashing container is what tests are about: not minutes of waiting for its restart.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
    })
}

/// Who did what, for all but what the control plane reads all the time.
fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/metrics", "/version", "/openapi*"]},
            {"level": "None", "verbs": ["get", "list", "watch"], "users": [
                "system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]},
            {"level": "None", "verbs": ["get", "list", "watch"], "userGroups": ["system:nodes"]},
            {"level": "None", "userGroups": ["system:nodes"],
             "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "Metadata"},
        ],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn everything_points_into_the_state_folder() {
        let layout = Layout::of("dbb").unwrap();
        let folder = layout.folder().to_string_lossy().into_owned();
        let text = kubelet_config(&layout).to_string() + &cni_config(&layout).to_string();
        for default in ["/var/lib", "/var/log", "/etc/", "/usr/libexec"] {
            assert!(!text.contains(default), "{default}");
        }
        assert!(text.contains(&folder));
    }
}
