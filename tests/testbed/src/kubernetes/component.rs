//! The programs of a testbed: arguments, start, record, and detection of dead ones.
//!
//! A program is started in a session of its own inside the testbed's network, so that it outlives whoever started it,
//! with the testbed's mark in its environment, so that teardown finds it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

use super::layout::{API_PORT, ETCD_PEER_PORT, ETCD_PORT, Layout, NODE, NODE_IP, SERVICE_RANGE};
use crate::cache::ToolCache;
use crate::process::ProcessIdentity;
use crate::program;
use crate::tools::go;

/// The parts of a Kubernetes, in the order of their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The store.
    Etcd,
    /// The container runtime.
    Containerd,
    /// The API server.
    Apiserver,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// The node.
    Kubelet,
}

impl Component {
    /// All, in the order of their start.
    pub const ALL: [Self; 6] = [
        Self::Etcd,
        Self::Containerd,
        Self::Apiserver,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
    ];

    /// Its name in records, logs and `testbed status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::Apiserver => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
        }
    }

    /// Is it part of a control plane without a node?
    #[must_use]
    pub fn is_control_plane(self) -> bool {
        !matches!(self, Self::Containerd | Self::Kubelet)
    }

    fn arguments(self, layout: &Layout) -> Vec<String> {
        let pki = |file: &str| layout.pki(file).display().to_string();
        let path = |name: &str| layout.path(name).display().to_string();
        let etcd = format!("http://127.0.0.1:{ETCD_PORT}");
        let peer = format!("http://127.0.0.1:{ETCD_PEER_PORT}");
        let client = |user: &str| {
            let file = layout.kubeconfig(user).display().to_string();
            [
                format!("--kubeconfig={file}"),
                format!("--authentication-kubeconfig={file}"),
                format!("--authorization-kubeconfig={file}"),
                format!("--client-ca-file={}", pki("ca.crt")),
                "--bind-address=127.0.0.1".into(),
                // One of each: an election only delays the start.
                "--leader-elect=false".into(),
                "--profiling=false".into(),
            ]
        };
        match self {
            Self::Etcd => vec![
                format!("--data-dir={}", path("etcd")),
                format!("--listen-client-urls={etcd}"),
                format!("--advertise-client-urls={etcd}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
                // The data does not outlive the machine's boot.
                "--unsafe-no-fsync".into(),
            ],
            Self::Containerd => vec!["--config".into(), path("containerd.toml")],
            Self::Apiserver => vec![
                "--bind-address=127.0.0.1".into(),
                format!("--secure-port={API_PORT}"),
                format!("--advertise-address={NODE_IP}"),
                format!("--etcd-servers={etcd}"),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
                "--authorization-mode=Node,RBAC".into(),
                "--enable-admission-plugins=NodeRestriction".into(),
                "--allow-privileged=true".into(),
                format!("--client-ca-file={}", pki("ca.crt")),
                format!("--tls-cert-file={}", pki("apiserver.crt")),
                format!("--tls-private-key-file={}", pki("apiserver.key")),
                format!("--kubelet-client-certificate={}", pki("kubelet-client.crt")),
                format!("--kubelet-client-key={}", pki("kubelet-client.key")),
                format!("--kubelet-certificate-authority={}", pki("ca.crt")),
                "--kubelet-preferred-address-types=InternalIP".into(),
                format!("--requestheader-client-ca-file={}", pki("front-ca.crt")),
                "--requestheader-allowed-names=front-proxy-client".into(),
                "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
                "--requestheader-group-headers=X-Remote-Group".into(),
                "--requestheader-username-headers=X-Remote-User".into(),
                format!("--proxy-client-cert-file={}", pki("front-client.crt")),
                format!("--proxy-client-key-file={}", pki("front-client.key")),
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
                format!("--service-account-key-file={}", pki("sa.pub")),
                format!("--service-account-signing-key-file={}", pki("sa.key")),
                "--enable-aggregator-routing=true".into(),
                // There is no kube-proxy to read the endpoints; a rule of the network brings pods here.
                "--endpoint-reconciler-type=none".into(),
                format!("--audit-policy-file={}", path("audit-policy.yaml")),
                format!("--audit-log-path={}", path("log/audit.json")),
                "--audit-log-format=json".into(),
                "--profiling=false".into(),
            ],
            Self::ControllerManager => client("kcm")
                .into_iter()
                .chain([
                    // With the default (20) the first service account takes twice as long.
                    "--kube-api-qps=300".into(),
                    "--kube-api-burst=600".into(),
                    "--use-service-account-credentials=true".into(),
                    format!("--root-ca-file={}", pki("ca.crt")),
                    format!("--service-account-private-key-file={}", pki("sa.key")),
                    format!("--cluster-signing-cert-file={}", pki("ca.crt")),
                    format!("--cluster-signing-key-file={}", pki("ca.key")),
                    "--allocate-node-cidrs=false".into(),
                    format!("--flex-volume-plugin-dir={}", path("flex")),
                ])
                .collect(),
            Self::Scheduler => client("scheduler")
                .into_iter()
                .chain(["--kube-api-qps=300".into(), "--kube-api-burst=600".into()])
                .collect(),
            Self::Kubelet => vec![
                format!("--config={}", path("kubelet.yaml")),
                format!("--kubeconfig={}", layout.kubeconfig("node").display()),
                format!("--hostname-override={NODE}"),
                format!("--root-dir={}", path("kubelet")),
                format!("--node-ip={NODE_IP}"),
            ],
        }
    }

    /// The process, if it was started and is alive.
    #[must_use]
    pub fn running(self, layout: &Layout) -> Option<ProcessIdentity> {
        ProcessIdentity::read_from(&layout.pid(self.name())).filter(ProcessIdentity::is_alive)
    }

    /// Starts it unless it runs; true if it did not.
    pub fn start(self, layout: &Layout, cache: &ToolCache) -> Result<bool> {
        if self.running(layout).is_some() {
            return Ok(false);
        }
        let file = match self {
            Self::Containerd => program::require_program("containerd")?,
            _ => go::go_tool_path(cache, self.name())?,
        };
        let mut command = Command::new(file);
        command.args(self.arguments(layout));
        spawn_recorded(layout, self.name(), &command)?;
        Ok(true)
    }

    /// Fails, with the end of its log, if it was started and has ended.
    pub fn require_running(self, layout: &Layout) -> Result<()> {
        require_running(layout, self.name())
    }
}

/// Fails, with the end of its log, if the process of this record is not alive.
pub fn require_running(layout: &Layout, name: &str) -> Result<()> {
    let file = layout.pid(name);
    if !file.exists() || ProcessIdentity::read_from(&file).is_some_and(|process| process.is_alive())
    {
        return Ok(());
    }
    let log = layout.log(name);
    let text = fs::read(&log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    bail!(
        "{name} has ended; the end of {}:\n{}",
        log.display(),
        program::last_lines(&text)
    )
}

/// Starts a program of the testbed, in its network and with its mark, and records it under `name`.
pub fn spawn_recorded(layout: &Layout, name: &str, command: &Command) -> Result<ProcessIdentity> {
    let log = layout.log(name);
    let open = |path: &Path| {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))
    };
    let (key, value) = layout.mark();
    let mut outer = Command::new("setsid");
    // setsid, nsenter and the program take over from one another in the same process: one pid for all.
    outer
        .arg("nsenter")
        .arg(format!("--net={}", layout.netns().display()))
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, set) in command.get_envs() {
        match set {
            Some(set) => outer.env(name, set),
            None => outer.env_remove(name),
        };
    }
    let child = outer
        // A proxy of the machine is of no use to programs that cannot leave it.
        .env("NO_PROXY", "*")
        .env("no_proxy", "*")
        .env(key, value)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(open(&log)?)
        .stderr(open(&log)?)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let pid = i32::try_from(child.id())?;
    let identity = ProcessIdentity::of(pid)
        .ok_or_else(|| anyhow!("{name} ended at once; see {}", log.display()))?;
    identity.write_to(&layout.pid(name))?;
    Ok(identity)
}
