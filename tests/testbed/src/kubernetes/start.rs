//! Starts a testbed, step by step, with the waits in between.
//!
//! Every step does nothing if its result exists, so an aborted start is simply started again. Leftovers of an earlier
//! boot are cleared first: their records name other processes now.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::component::Component;
use super::layout::{API_PORT, DEFAULT_NAME, Layout, NODE};
use super::{
    Testbed, cgroup, config, container, lock, machine, network, pki, require_root, teardown,
};
use crate::cache::ToolCache;
use crate::{image, interrupt, program, tools, wait};

/// Several times what a start takes with both cores busy elsewhere.
const LIMIT: Duration = Duration::from_secs(90);

/// How to start a testbed.
#[derive(Debug, Clone)]
pub struct TestbedOptions {
    /// Its name.
    pub name: String,
    /// Leave out containerd and the kubelet: objects, but no pods.
    pub control_plane_only: bool,
}

impl Default for TestbedOptions {
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            control_plane_only: false,
        }
    }
}

/// What a testbed says of itself, in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestbedRecord {
    boot: String,
    /// Without a node?
    pub control_plane_only: bool,
}

impl TestbedRecord {
    /// Reads it; `None` if there is no testbed.
    #[must_use]
    pub fn read(layout: &Layout) -> Option<Self> {
        serde_json::from_slice(&fs::read(layout.path("testbed.json")).ok()?).ok()
    }

    fn write(&self, layout: &Layout) -> Result<()> {
        let (file, partial) = (layout.path("testbed.json"), layout.path(".testbed.partial"));
        fs::write(&partial, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&partial, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Starts a testbed, or what is missing of it.
pub fn start_testbed(options: &TestbedOptions) -> Result<Testbed> {
    require_root("testbed up")?;
    let layout = Layout::of(&options.name)?;
    let cache = ToolCache::locate()?;
    tools::check_tools(&cache)?;
    let testbed = Testbed { layout, cache };
    let own = lock::lock_new_folder(&testbed.layout.folder())?;
    if is_complete(&testbed, options)? {
        return Ok(testbed);
    }
    let result = start_components(&testbed, options);
    drop(own);
    match result {
        Ok(()) => Ok(testbed),
        Err(e) if interrupt::is_interrupted() => {
            eprintln!("interrupted: deleting the testbed {}", options.name);
            Testbed::down(&options.name)?;
            Err(e)
        }
        Err(e) => Err(e.context(format!(
            "the testbed {} did not start; logs are in {}; delete it with: testbed down --name {}",
            options.name,
            testbed.layout.path("log").display(),
            options.name
        ))),
    }
}

/// Nothing to do? A living process may still hang, so the API is asked.
fn is_complete(testbed: &Testbed, options: &TestbedOptions) -> Result<bool> {
    let Some(record) = TestbedRecord::read(&testbed.layout) else {
        return Ok(false);
    };
    let enough = !record.control_plane_only || options.control_plane_only;
    Ok(enough
        && record.boot == machine::boot_id()?
        && network::has_network(&testbed.layout)?
        && required_components(record.control_plane_only)
            .iter()
            .all(|part| part.running(&testbed.layout).is_some())
        && testbed.layout.path("ready").exists()
        && is_api_ready(testbed))
}

fn required_components(control_plane_only: bool) -> Vec<Component> {
    Component::ALL
        .into_iter()
        .filter(|part| !control_plane_only || part.is_control_plane())
        .collect()
}

fn start_components(testbed: &Testbed, options: &TestbedOptions) -> Result<()> {
    let (layout, cache) = (&testbed.layout, &testbed.cache);
    let started = Instant::now();
    let boot = machine::boot_id()?;
    let old = TestbedRecord::read(layout);
    // Without its network, or from another boot, nothing of it can go on: no process, no mount, no cgroup.
    if old.as_ref().is_none_or(|old| old.boot != boot) || !network::has_network(layout)? {
        teardown::remove_testbed(layout)?;
    }
    // A node once started stays: leaving it out later would leave its pods without a kubelet.
    let control_plane_only =
        options.control_plane_only && old.as_ref().is_none_or(|old| old.control_plane_only);
    TestbedRecord {
        boot,
        control_plane_only,
    }
    .write(layout)?;
    for folder in ["pid", "log", "pki"] {
        let folder = layout.path(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // The administrator's key is in there.
    fs::set_permissions(layout.path("pki"), fs::Permissions::from_mode(0o700))
        .context("cannot close the folder of the keys")?;
    {
        let _shared = lock::lock_new_folder(layout.root())?;
        machine::save_state(layout.root())?;
    }
    let pause = if control_plane_only {
        None
    } else {
        Some(image::build_pause_image(cache)?.archive)
    };
    network::create_network(layout)?;
    config::write_configuration(layout)?;
    Component::Etcd.start(layout, cache)?;
    if !control_plane_only {
        cgroup::create_cgroup(&layout.cgroup())?;
        Component::Containerd.start(layout, cache)?;
    }
    pki::create_certificates(layout)?;
    Component::Apiserver.start(layout, cache)?;
    if let Some(archive) = pause {
        prepare_node(layout, &archive)?;
    }
    // Only those whose turn has been: a part that died before, or dies of the same cause, is started below.
    let so_far = [Component::Etcd, Component::Apiserver];
    await_or_die(layout, &so_far, "the API server", || {
        Ok(is_api_listening(testbed)? && is_api_ready(testbed))
    })?;
    eprintln!(
        "API server ready after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    for part in required_components(control_plane_only) {
        part.start(layout, cache)?;
    }
    await_cluster(testbed, control_plane_only)?;
    if old.is_some() && !control_plane_only {
        // A node that was Ready stays so for a while, though its new kubelet does not know its pods yet.
        let every = required_components(control_plane_only);
        await_or_die(layout, &every, "the node's pods", || {
            Ok(is_pod_list_synced(testbed))
        })?;
    }
    fs::write(layout.path("ready"), "").context("cannot mark the testbed as ready")?;
    eprintln!(
        "testbed {} up after {:.1} s",
        layout.name(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn prepare_node(layout: &Layout, pause: &Path) -> Result<()> {
    await_or_die(layout, &[Component::Containerd], "containerd", || {
        Ok(container::is_containerd_ready(layout))
    })?;
    if !container::has_image(layout, image::PAUSE)? {
        container::load_image(layout, pause)?;
    }
    Ok(())
}

/// Waits, and ends early with the log of one of the parts that died.
fn await_or_die(
    layout: &Layout,
    parts: &[Component],
    what: &str,
    mut probe: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait::poll_until(what, LIMIT, || {
        if probe()? {
            return Ok(Some(()));
        }
        parts
            .iter()
            .try_for_each(|part| part.require_running(layout))?;
        Ok(None)
    })
}

/// Cheap, before kubectl is asked: a kubectl in a loop would take the cores that the API server starts on.
fn is_api_listening(testbed: &Testbed) -> Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT));
    testbed.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
}

pub(super) fn is_api_ready(testbed: &Testbed) -> bool {
    Component::Apiserver.running(&testbed.layout).is_some()
        && program::run_succeeds(testbed.command("kubectl").args([
            "get",
            "--raw",
            "/readyz",
            "--request-timeout=5s",
        ]))
}

/// Does the kubelet have every pod that the API says is on its node?
fn is_pod_list_synced(testbed: &Testbed) -> bool {
    let uids = |path: &str| -> Option<Vec<String>> {
        let text = testbed.kubectl(&["get", "--raw", path]).ok()?;
        let list: serde_json::Value = serde_json::from_str(&text).ok()?;
        // The kubelet's list of none is null.
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let live = items.iter().filter(|pod| {
            !matches!(
                pod["status"]["phase"].as_str(),
                Some("Succeeded" | "Failed")
            )
        });
        live.map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned))
            .collect()
    };
    let wanted = uids(&format!(
        "/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}"
    ));
    let known = uids(&format!("/api/v1/nodes/{NODE}/proxy/pods"));
    wanted.is_some_and(|wanted| {
        known.is_some_and(|known| wanted.iter().all(|uid| known.contains(uid)))
    })
}

/// The node takes pods, and pods have an account to run as.
fn await_cluster(testbed: &Testbed, control_plane_only: bool) -> Result<()> {
    let mut wanted = vec![vec![
        "--for=create".to_owned(),
        "serviceaccount/default".to_owned(),
    ]];
    if !control_plane_only {
        wanted.push(vec!["--for=create".to_owned(), format!("node/{NODE}")]);
        wanted.push(vec![
            "--for=condition=Ready".to_owned(),
            format!("node/{NODE}"),
        ]);
    }
    for arguments in wanted {
        let what = format!("kubectl wait {}", arguments.join(" "));
        let (key, value) = testbed.layout.mark();
        // kubectl watches, so no time is lost; a second at a time, so that a dead part or an interrupt is seen.
        await_or_die(
            &testbed.layout,
            &required_components(control_plane_only),
            &what,
            || {
                Ok(program::run_succeeds(
                    testbed
                        .command("kubectl")
                        .args(["wait", "--timeout=1s"])
                        .args(&arguments)
                        .env(key, &value),
                ))
            },
        )?;
    }
    Ok(())
}
