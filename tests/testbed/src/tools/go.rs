//! Go programs: one committed `go.mod` and `go.sum` each, built once into `<cache>/<folder>-<version>/`. The folder of a
//! program of ours has the digest of its sources in its name as well, so that a change of them builds it anew.
//!
//! A program counts as present when its stamp says that it reported the pinned version. The build writes under another
//! name first, so an interrupted one is never taken for complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::crate_folder;
use crate::cache::ToolCache;
use crate::image::oci::sha256_hex;
use crate::program;

/// What kubectl, the API server and their clients say of their version.
const KUBERNETES_VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// One program.
#[derive(Debug)]
pub struct GoTool {
    /// Folder below `tools/` with its `go.mod`.
    pub folder: &'static str,
    /// Pinned version; must be that of `go.mod` (a test compares).
    pub version: &'static str,
    /// Module that has the version.
    pub module: &'static str,
    /// Package to build.
    pub package: &'static str,
    /// File name of the program.
    pub binary: &'static str,
    /// Needed by `testbed up`, not only by tests of charts.
    pub for_testbed: bool,
    /// Extra linker flags: the version it reports.
    linker: &'static str,
    /// Arguments that make it print its version, and the expected text; empty: its build information is read.
    tells: (&'static [&'static str], &'static str),
    /// Time on two cores, from nothing.
    expected: &'static str,
    /// Committed files of a program of ours. They say what is built as much as the version does, so their digest is a
    /// part of the folder's name; empty for a program that is built as its module has it.
    sources: &'static [&'static str],
}

const fn kubernetes_tool(
    package: &'static str,
    binary: &'static str,
    tells: (&'static [&'static str], &'static str),
    expected: &'static str,
) -> GoTool {
    GoTool {
        folder: "kubernetes",
        version: "v1.36.3",
        module: "k8s.io/kubernetes",
        package,
        binary,
        for_testbed: true,
        linker: KUBERNETES_VERSION,
        tells,
        expected,
        sources: &[],
    }
}

/// All of them, in the order of building: the API server first, as the others reuse what it compiled.
pub const TOOLS: &[GoTool] = &[
    GoTool {
        folder: "etcd",
        version: "v3.6.11",
        module: "go.etcd.io/etcd/server/v3",
        package: "go.etcd.io/etcd/server/v3",
        binary: "etcd",
        for_testbed: true,
        linker: "",
        tells: (&["--version"], "etcd Version: 3.6.11"),
        expected: "about 1 minute",
        sources: &[],
    },
    kubernetes_tool(
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-apiserver",
        (&["--version"], "Kubernetes v1.36.3"),
        "about 5 minutes cold",
    ),
    kubernetes_tool(
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-controller-manager",
        (&["--version"], "Kubernetes v1.36.3"),
        "about 1 minute",
    ),
    kubernetes_tool(
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "kube-scheduler",
        (&["--version"], "Kubernetes v1.36.3"),
        "about 10 seconds",
    ),
    kubernetes_tool(
        "k8s.io/kubernetes/cmd/kubelet",
        "kubelet",
        (&["--version"], "Kubernetes v1.36.3"),
        "about 30 seconds",
    ),
    kubernetes_tool(
        "k8s.io/kubernetes/cmd/kubectl",
        "kubectl",
        (&["version", "--client"], "Client Version: v1.36.3"),
        "about 30 seconds",
    ),
    GoTool {
        folder: "helm",
        version: "v4.3.1",
        module: "helm.sh/helm/v4",
        package: "helm.sh/helm/v4/cmd/helm",
        binary: "helm",
        for_testbed: false,
        linker: "-X helm.sh/helm/v4/internal/version.version=v4.3.1",
        tells: (&["version", "--short"], "v4.3.1"),
        expected: "about 2 minutes",
        sources: &[],
    },
    GoTool {
        folder: "kubeconform",
        version: "v0.8.0",
        module: "github.com/yannh/kubeconform",
        package: "github.com/yannh/kubeconform/cmd/kubeconform",
        binary: "kubeconform",
        for_testbed: false,
        linker: "-X main.version=v0.8.0",
        tells: (&["-v"], "v0.8.0"),
        expected: "about 5 seconds",
        sources: &[],
    },
    GoTool {
        folder: "helm-unittest",
        version: "v1.1.2",
        module: "github.com/helm-unittest/helm-unittest",
        package: "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
        binary: "untt",
        for_testbed: false,
        linker: "",
        tells: (&[], ""),
        expected: "about 1 minute",
        sources: &[],
    },
    // A program of ours around its packages: only the plugins in use. Most of it is the client of Kubernetes, which helm
    // has fetched and compiled before, at the same version; alone, from nothing, it is 44 MB and two and a half minutes
    // of a core.
    GoTool {
        folder: "coredns",
        version: "v1.15.0",
        module: "github.com/coredns/coredns",
        package: "dbbalance.io/testbed/tools/coredns",
        binary: "coredns",
        for_testbed: false,
        linker: "",
        tells: (&["-version"], "CoreDNS-1.15.0"),
        expected: "about 1 minute after helm",
        sources: &[
            include_str!("../../tools/coredns/main.go"),
            include_str!("../../tools/coredns/go.mod"),
            include_str!("../../tools/coredns/go.sum"),
        ],
    },
];

impl GoTool {
    pub(crate) fn folder_in(&self, cache: &ToolCache) -> PathBuf {
        let named = format!("{}-{}", self.folder, self.version);
        if self.sources.is_empty() {
            return cache.path(named);
        }
        let digest = sha256_hex(self.sources.concat().as_bytes());
        cache.path(format!("{named}-{}", digest.get(..8).unwrap_or_default()))
    }

    /// Where the program is, once built.
    #[must_use]
    pub fn path(&self, cache: &ToolCache) -> PathBuf {
        self.folder_in(cache).join(self.binary)
    }

    fn stamp(&self, cache: &ToolCache) -> PathBuf {
        self.folder_in(cache)
            .join(format!(".{}.verified", self.binary))
    }

    /// Does this file say that it is the pinned version?
    fn verify(&self, file: &Path) -> Result<()> {
        let (arguments, expected) = self.tells;
        let (said, expected) = if arguments.is_empty() {
            let said = program::run_output(Command::new("go").args(["version", "-m"]).arg(file))?;
            (
                said.replace('\t', " "),
                format!("{} {}", self.module, self.version),
            )
        } else {
            (
                program::run_output(Command::new(file).args(arguments))?,
                expected.to_owned(),
            )
        };
        if !said.contains(&expected) {
            bail!(
                "{} is not {} {}: it says {:?}; delete it and call: testbed tools",
                file.display(),
                self.binary,
                self.version,
                said.lines().next().unwrap_or_default()
            );
        }
        Ok(())
    }

    fn build(&self, cache: &ToolCache) -> Result<()> {
        program::require_program("go")?;
        let target = self.path(cache);
        ToolCache::sweep(&target);
        let partial = ToolCache::temporary(&target);
        let folder = crate_folder().join("tools").join(self.folder);
        fs::create_dir_all(self.folder_in(cache)).context("cannot make a folder in the cache")?;
        eprintln!(
            "building {} {} ({})…",
            self.binary, self.version, self.expected
        );
        let started = Instant::now();
        let built = program::run_output(
            Command::new("go")
                .current_dir(&folder)
                // Static, so that it runs in any image and on any machine that shares the cache.
                .env("CGO_ENABLED", "0")
                .args([
                    "build",
                    "-trimpath",
                    "-ldflags",
                    &format!("-s -w {}", self.linker),
                    "-o",
                ])
                .arg(&partial)
                .arg(self.package),
        )
        .and_then(|_| self.verify(&partial));
        if let Err(e) = built {
            let _ = fs::remove_file(&partial);
            return Err(e.context(format!(
                "cannot build {} {} in {}",
                self.binary,
                self.version,
                folder.display()
            )));
        }
        fs::rename(&partial, &target)
            .with_context(|| format!("cannot write {}", target.display()))?;
        eprintln!(
            "built {} {} in {:.0} s",
            self.binary,
            self.version,
            started.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// True if something was done.
    fn ensure(&self, cache: &ToolCache) -> Result<bool> {
        let stamp = self.stamp(cache);
        if stamp.is_file() && self.path(cache).is_file() {
            return Ok(false);
        }
        // A program without a stamp may come from elsewhere: accepted if it is the right version, else built again.
        if self.verify(&self.path(cache)).is_err() {
            self.build(cache)?;
        }
        fs::write(&stamp, self.version)
            .with_context(|| format!("cannot write {}", stamp.display()))?;
        Ok(true)
    }
}

/// Builds what is missing; gives the number of new ones.
pub fn ensure_go_tools(cache: &ToolCache) -> Result<usize> {
    TOOLS
        .iter()
        .try_fold(0, |new, tool| Ok(new + usize::from(tool.ensure(cache)?)))
}

/// Where a built program is.
pub fn go_tool_path(cache: &ToolCache, binary: &str) -> Result<PathBuf> {
    match TOOLS
        .iter()
        .find(|tool| tool.binary == binary)
        .map(|tool| tool.path(cache))
    {
        Some(path) if path.is_file() => Ok(path),
        _ => bail!(
            "the program {binary} is missing in {}: build it with: testbed tools",
            cache.path("").display()
        ),
    }
}

#[cfg(test)]
mod tests;
