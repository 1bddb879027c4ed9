//! Loads images into containerd, and finds the process of a container.
//!
//! There is no registry and no crictl; `ctr` speaks to the testbed's own containerd.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::layout::Layout;
use crate::process::ProcessIdentity;
use crate::{program, wait};

/// containerd's namespace of all that Kubernetes runs.
const NAMESPACE: &str = "k8s.io";

fn ctr_command(layout: &Layout) -> Command {
    let mut command = Command::new("ctr");
    let (key, value) = layout.mark();
    command
        .arg("--address")
        .arg(layout.containerd_socket())
        .args(["--namespace", NAMESPACE])
        .env(key, value);
    command
}

/// Does containerd answer?
#[must_use]
pub fn is_containerd_ready(layout: &Layout) -> bool {
    layout.containerd_socket().exists() && program::run_succeeds(ctr_command(layout).arg("version"))
}

/// Does a pod find this image? The CRI plugin takes an imported one in a moment later, and marks it.
pub fn has_image(layout: &Layout, name: &str) -> Result<bool> {
    let table = program::run_output(
        ctr_command(layout)
            .args(["images", "ls"])
            .arg(format!("name=={name}")),
    )?;
    Ok(table.contains("io.cri-containerd.image=managed"))
}

/// Imports an archive; gives the names of its images once pods can use them.
pub fn load_image(layout: &Layout, archive: &Path) -> Result<Vec<String>> {
    if !archive.is_file() {
        bail!(
            "the image archive {} is missing; make one with: testbed image build",
            archive.display()
        );
    }
    let said = program::run_output(ctr_command(layout).args(["images", "import"]).arg(archive))
        .with_context(|| format!("cannot load the image {}", archive.display()))?;
    let names: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("unpacking "))
        .filter_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        bail!(
            "{} holds no named image: containerd said {said:?}",
            archive.display()
        );
    }
    for name in &names {
        wait::poll_until(
            &format!("the image {name} in the testbed"),
            Duration::from_secs(10),
            || Ok(has_image(layout, name)?.then_some(())),
        )?;
    }
    Ok(names)
}

/// First process of the running container, as the machine counts processes.
pub fn find_container_process(
    layout: &Layout,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<ProcessIdentity> {
    let filter = format!(
        "labels.\"io.kubernetes.pod.namespace\"=={namespace},labels.\"io.kubernetes.pod.name\"=={pod},\
         labels.\"io.kubernetes.container.name\"=={container}"
    );
    let ids =
        program::run_output(ctr_command(layout).args(["containers", "ls", "--quiet", &filter]))?;
    let tasks = program::run_output(ctr_command(layout).args(["tasks", "ls"]))?;
    // A restarted container has an ended twin: only the running one has a running task.
    running_task(&ids, &tasks)
        .and_then(ProcessIdentity::of)
        .with_context(|| {
            format!("no running container {container} in the pod {namespace}/{pod} of the testbed")
        })
}

fn running_task(ids: &str, tasks: &str) -> Option<i32> {
    tasks.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (id, pid, status) = (fields.next()?, fields.next()?, fields.next()?);
        (ids.lines().any(|known| known == id) && matches!(status, "RUNNING" | "PAUSED"))
            .then(|| pid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::running_task;

    #[test]
    fn the_ended_twin_is_not_taken() {
        let tasks = "TASK PID STATUS\naaa 10 STOPPED\nbbb 11 RUNNING\nccc 12 RUNNING\n";
        assert_eq!(running_task("aaa\nbbb\n", tasks), Some(11));
        assert_eq!(running_task("aaa\n", tasks), None);
    }
}
