//! A testbed: a whole single-node Kubernetes in a network namespace of its own.
//!
//! [`Testbed::up`] starts what is not running and repairs what is dead; [`Testbed::down`] leaves no process, mount,
//! namespace, cgroup, setting or file. Both work from any state, including after a killed `testbed` or a reboot.
//! [`component`] has the programs, [`start`] their order, [`teardown`] the end.

pub mod cgroup;
pub mod component;
pub mod config;
pub mod container;
pub mod layout;
pub mod leftovers;
pub mod lock;
pub mod machine;
pub mod network;
pub mod pki;
pub mod start;
pub mod teardown;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

pub use component::Component;
pub use layout::{API_SERVICE_IP, DEFAULT_NAME, Layout, NODE, NODE_IP};
pub use start::TestbedOptions;

use crate::cache::ToolCache;
use crate::process::ProcessIdentity;
use crate::{program, tools, wait};

/// A running testbed.
#[derive(Debug, Clone)]
pub struct Testbed {
    layout: Layout,
    cache: ToolCache,
}

/// Output of `testbed status`.
#[derive(Debug)]
pub struct TestbedStatus {
    /// Name of each recorded program, its pid, and whether it is alive.
    pub programs: Vec<(String, i32, bool)>,
    /// Does the API server say that it is ready?
    pub api_ready: bool,
    /// Without a node?
    pub control_plane_only: bool,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The testbed's network.
    pub netns: PathBuf,
}

impl Testbed {
    /// Starts a testbed, or what is missing of it. Takes under a second if nothing is.
    pub fn up(options: &TestbedOptions) -> Result<Self> {
        start::start_testbed(options)
    }

    /// The testbed with this name, which must be up.
    pub fn open(name: &str) -> Result<Self> {
        let testbed = Self {
            layout: Layout::of(name)?,
            cache: ToolCache::locate()?,
        };
        if !network::has_network(&testbed.layout)?
            || Component::Apiserver.running(&testbed.layout).is_none()
        {
            bail!("the testbed {name} is not up; start it with: testbed up --name {name}");
        }
        Ok(testbed)
    }

    /// Takes a testbed away; fine if there is none. Nothing of it stays.
    pub fn down(name: &str) -> Result<()> {
        require_root("testbed down")?;
        let layout = Layout::of(name)?;
        let own = lock::lock_existing_folder(&layout.folder())?;
        // Also without the folder: it may have been removed by hand while its processes run on.
        teardown::remove_testbed(&layout)?;
        let Some(_shared) = lock::lock_existing_folder(layout.root())? else {
            return Ok(());
        };
        if own.is_some() {
            fs::remove_dir(layout.folder())
                .with_context(|| format!("cannot remove {}", layout.folder().display()))?;
        }
        if lock::list_testbeds(layout.root())?.is_empty() {
            teardown::remove_shared(layout.root())?;
        }
        Ok(())
    }

    /// Names and addresses.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The testbed's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.layout.name()
    }

    /// The administrator's kubeconfig; its address is inside the testbed's network, see [`Testbed::enter`].
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The testbed's network, for `nsenter --net=…` around a whole test run.
    #[must_use]
    pub fn netns(&self) -> PathBuf {
        self.layout.netns()
    }

    /// The API server's audit log: a JSON object a line, written before the answer is sent.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.layout.path("log/audit.json")
    }

    /// A command that runs inside the testbed's network, with `KUBECONFIG` set and the testbed's programs in `PATH`.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = network::enter_command(&self.layout);
        command.arg(program);
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        command
    }

    /// A folder for programs of this testbed's own, first in the `PATH` of [`Testbed::command`]; made by whoever uses it.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.layout.path("programs")
    }

    /// What [`Testbed::command`] sets.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let mut folders = vec![self.programs()];
        folders.extend(tools::tool_folders(&self.cache));
        folders.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        folders.extend(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
        vec![
            ("KUBECONFIG", self.kubeconfig().into()),
            // A folder with a colon in its name cannot be in a PATH; the user's own then stays.
            ("PATH", std::env::join_paths(folders).unwrap_or_default()),
            ("NO_PROXY", "*".into()),
            ("no_proxy", "*".into()),
            ("CONTAINERD_ADDRESS", self.layout.containerd_socket().into()),
            ("CONTAINERD_NAMESPACE", "k8s.io".into()),
            ("DBBALANCE_TESTBED_NAME", self.name().into()),
        ]
    }

    /// Runs `kubectl` and gives what it says.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        program::run_output(self.command("kubectl").args(arguments))
    }

    /// Runs `work` inside the testbed's network, on a thread of its own. A client of the API server belongs in here;
    /// a runtime built inside hands the network on to its workers.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        network::run_in_network(&self.layout, work)
    }

    /// Starts a further program in the testbed's network. It is recorded under `name`, logs to `log/NAME.log`,
    /// and ends with the testbed. An earlier one of that name must have ended.
    pub fn spawn(&self, name: &str, command: &Command) -> Result<ProcessIdentity> {
        if let Some(running) = self.spawned(name) {
            bail!(
                "{name} runs already in the testbed {}, as process {}",
                self.name(),
                running.pid
            );
        }
        component::spawn_recorded(&self.layout, name, command)
    }

    /// The living process that was started under `name`.
    #[must_use]
    pub fn spawned(&self, name: &str) -> Option<ProcessIdentity> {
        ProcessIdentity::read_from(&self.layout.pid(name)).filter(ProcessIdentity::is_alive)
    }

    /// Ends a program started by [`Testbed::spawn`]; fine if there is none.
    pub fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        if let Some(process) = self.spawned(name) {
            process.stop(grace)?;
        }
        let file = self.layout.pid(name);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", file.display()))
            }
            _ => Ok(()),
        }
    }

    /// Waits for a condition of a program started by [`Testbed::spawn`]; ends early, with its log, if it dies.
    pub fn wait_for(
        &self,
        name: &str,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        wait::poll_until(
            &format!("{name} of the testbed {}", self.name()),
            limit,
            || {
                if ready() {
                    return Ok(Some(()));
                }
                component::require_running(&self.layout, name)?;
                Ok(None)
            },
        )
    }

    /// Loads an image archive; gives its names.
    pub fn load_image(&self, archive: &Path) -> Result<Vec<String>> {
        container::load_image(&self.layout, archive)
    }

    /// First process of a container, as the machine counts processes.
    pub fn container_process(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<ProcessIdentity> {
        container::find_container_process(&self.layout, namespace, pod, container)
    }

    /// Its pid; [`Testbed::signal_container`] is safer where a signal is all that is wanted.
    pub fn container_pid(&self, namespace: &str, pod: &str, container: &str) -> Result<i32> {
        Ok(self.container_process(namespace, pod, container)?.pid)
    }

    /// Sends a signal to a container's first process from outside: STOP and KILL work, which inside they do not.
    pub fn signal_container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        signal: Signal,
    ) -> Result<()> {
        self.container_process(namespace, pod, container)?
            .signal(signal)
    }

    /// Drops every packet between a pod and the API server; probes and other traffic go on.
    pub fn cut_off(&self, pod_ip: &str) -> Result<()> {
        network::cut_off_pod(&self.layout, pod_ip)
    }

    /// Undoes [`Testbed::cut_off`].
    pub fn restore(&self, pod_ip: &str) -> Result<()> {
        network::restore_pod(&self.layout, pod_ip)
    }

    /// What runs.
    pub fn status(name: &str) -> Result<Option<TestbedStatus>> {
        let layout = Layout::of(name)?;
        let Some(record) = start::TestbedRecord::read(&layout) else {
            return Ok(None);
        };
        let mut programs: Vec<(String, i32, bool)> = fs::read_dir(layout.path("pid"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let process = ProcessIdentity::read_from(&entry.path())?;
                Some((
                    entry.file_name().to_string_lossy().into_owned(),
                    process.pid,
                    process.is_alive(),
                ))
            })
            .collect();
        programs.sort();
        let (kubeconfig, netns) = (layout.kubeconfig("admin"), layout.netns());
        let api_ready = network::has_network(&layout)? && {
            let testbed = Self {
                layout,
                cache: ToolCache::locate()?,
            };
            start::is_api_ready(&testbed)
        };
        Ok(Some(TestbedStatus {
            programs,
            api_ready,
            control_plane_only: record.control_plane_only,
            kubeconfig,
            netns,
        }))
    }
}

/// Fails unless called by root.
pub(crate) fn require_root(what: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("{what} makes network namespaces and cgroups and needs root: call it with: sudo -E");
    }
    Ok(())
}
