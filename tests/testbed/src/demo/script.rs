//! The script of the demo: the chapters, their order, and their expected outcomes with deadlines.
//!
//! Each chapter sends a command or two and waits for an outcome in a [`DemoSnapshot`]. It touches only the testbed's
//! Aurora and the policy's mode: whatever moves a connection in it is the operator.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use dbbalance_terminal::Tone;

use super::observer::{DemoObserver, DemoSnapshot};
use super::render;
use super::screen::Screen;
use super::setup::{CLUSTER, CONNECTIONS, DemoSetup, POLICY, demo_file};
use crate::aurora::script::FailoverOptions;
use crate::wait;

/// The operator reads the cluster for the first time, and measures.
const FIRST_SIGHT: Duration = Duration::from_mins(2);
/// A new reader is served within two seconds; then DNS caches, settling and one poll.
const JOINED: Duration = Duration::from_mins(2);
/// So long the new reader is watched to stay idle.
const IDLE: Duration = Duration::from_secs(8);
/// It takes about a minute; the rest is for a machine with other work.
const EVEN: Duration = Duration::from_mins(4);

/// Plays all chapters.
pub fn play_script(setup: &DemoSetup, screen: &mut Screen) -> Result<()> {
    let began = Instant::now();
    let mut watch = ScreenWatcher {
        observer: DemoObserver::new(setup),
        screen,
    };
    watch.begin(setup)?;
    let joined = watch.a_reader_joins(setup)?;
    watch.the_policy_acts(setup, &joined)?;
    watch.failover(setup)?;
    watch.print_summary(setup, began.elapsed())?;
    // With KEEP=1 all runs on, for hours maybe.
    setup.control.unobserve(CLUSTER)
}

struct ScreenWatcher<'a> {
    observer: DemoObserver<'a>,
    screen: &'a mut Screen,
}

impl ScreenWatcher<'_> {
    /// Draws snapshots until the expected outcome; returns the time that it took.
    fn watch_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut come_true: impl FnMut(&DemoSnapshot) -> Result<bool>,
    ) -> Result<Duration> {
        let began = Instant::now();
        let Self { observer, screen } = self;
        let ended = wait::poll_until(what, limit, || {
            let Some(snapshot) = observer.observe()? else {
                return Ok(None);
            };
            let passed = began.elapsed();
            screen.draw(
                &render::render_lines(snapshot, passed, screen.canvas()),
                &render::render_key(snapshot),
                &render::render_line(snapshot, passed),
            )?;
            Ok(come_true(snapshot)?.then_some(passed))
        });
        let snapshot = observer.snapshot();
        screen.keep_picture(&[
            render::render_line(snapshot, began.elapsed()),
            format!(
                "           {}: {}",
                snapshot.policy.mode,
                render::describe_policy(snapshot)
            ),
        ])?;
        ended
    }

    fn print_remark(&mut self, text: &str) -> Result<()> {
        let canvas = self.screen.canvas();
        self.screen
            .print_lines(&[canvas.tint(Tone::Faint, &format!("  {text}"))])
    }

    fn print_command(&mut self, text: &str) -> Result<()> {
        let canvas = self.screen.canvas();
        self.screen
            .print_lines(&[canvas.tint(Tone::Command, &format!("  $ {text}"))])
    }

    fn print_outcome(&mut self, text: &str, passed: Duration) -> Result<()> {
        let line = render::render_outcome(text, passed, self.screen.canvas());
        self.screen.print_lines(&[line])
    }

    fn begin(&mut self, setup: &DemoSetup) -> Result<()> {
        self.screen
            .print_heading("1  Two readers, and a policy that only watches: mode Observe")?;
        self.print_command("kubectl apply -f policy.yaml")?;
        setup.kubectl(&["apply", "-f", &demo_file("policy.yaml")])?;
        let passed =
            self.watch_until("the policy's first measurement", FIRST_SIGHT, |snapshot| {
                Ok(snapshot.policy.epoch == 1
                    && snapshot.is_measured()
                    && snapshot.connections() == CONNECTIONS)
            })?;
        self.print_outcome("the operator has read the cluster and all pods", passed)
    }

    /// Gives the new reader's name.
    fn a_reader_joins(&mut self, setup: &DemoSetup) -> Result<String> {
        self.screen
            .print_heading("2  A third reader joins. Pools are connected: none looks up DNS")?;
        let name = setup.control.add_reader(CLUSTER)?;
        let mut since: Option<Instant> = None;
        let passed = self.watch_until(
            "the new reader in DNS and in the plan",
            JOINED,
            |snapshot| {
                let Some(new) = snapshot.instances.iter().find(|i| i.name == name) else {
                    return Ok(false);
                };
                if new.connections > 0 || snapshot.queries().recycles > 0 {
                    bail!("something moved connections, though the policy only observes");
                }
                let known = new.served
                    && snapshot.policy.epoch == 2
                    && snapshot.policy.state == "Unbalanced";
                let watched = *since.get_or_insert_with(Instant::now);
                if !known {
                    since = None;
                }
                Ok(known && watched.elapsed() >= IDLE)
            },
        )?;
        self.print_outcome(
            &format!("{name} serves and stays idle; the plan says what would be done"),
            passed,
        )?;
        Ok(name)
    }

    fn the_policy_acts(&mut self, setup: &DemoSetup, joined: &str) -> Result<()> {
        self.screen
            .print_heading("3  The policy may act: mode Enforce")?;
        let patch = r#"{"spec":{"mode":"Enforce"}}"#;
        self.print_command(&format!(
            "kubectl patch dbp {POLICY} --type=merge -p '{patch}'"
        ))?;
        setup.kubectl(&["patch", "dbp", POLICY, "--type=merge", "-p", patch])?;
        let passed = self.watch_until("even shares", EVEN, |snapshot| {
            require_no_failures(snapshot)?;
            let served = snapshot
                .instances
                .iter()
                .any(|i| i.name == joined && i.connections > 0);
            Ok(served && snapshot.is_even(CONNECTIONS))
        })?;
        let text = format!(
            "even: {} of 12 pods recycled, no query failed",
            self.observer.snapshot().recycled_pods()
        );
        self.print_outcome(&text, passed)
    }

    fn failover(&mut self, setup: &DemoSetup) -> Result<()> {
        self.screen
            .print_heading("4  A failover, and DNS flickers: new, old, new")?;
        let from = self.observer.snapshot();
        let target = from
            .readers()
            .max_by_key(|i| i.connections)
            .map(|i| i.name.clone())
            .context("there is no reader to fail over to")?;
        self.print_remark(&format!(
            "{target} becomes the writer without a restart, and reader pools keep their sockets to it."
        ))?;
        let options = FailoverOptions {
            flicker: true,
            keep_target: true,
            ..FailoverOptions::default()
        };
        setup.control.failover(CLUSTER, Some(&target), options)?;
        let began = Instant::now();
        let mut left: Option<Duration> = None;
        let passed = self.watch_until(
            "no reader pool on the new writer, and even shares",
            EVEN,
            |snapshot| {
                require_no_failures(snapshot)?;
                let promoted = snapshot
                    .instances
                    .iter()
                    .find(|i| i.name == target && i.writer == Some(true));
                let Some(promoted) = promoted else {
                    return Ok(false);
                };
                left = match promoted.connections {
                    0 => left.or(Some(began.elapsed())),
                    _ => None,
                };
                Ok(left.is_some()
                    && snapshot.policy.writer == target
                    && snapshot.policy.epoch >= 3
                    && snapshot.is_even(CONNECTIONS))
            },
        )?;
        let left = left.unwrap_or(passed).as_secs_f64();
        self.print_outcome(
            &format!("the reader pools left {target} after {left:.0} s, and are even again"),
            passed,
        )
    }

    fn print_summary(&mut self, setup: &DemoSetup, passed: Duration) -> Result<()> {
        let queries = self.observer.snapshot().queries();
        self.screen.print_heading(&format!(
            "The story took {:.0} s: {} queries answered, {} failed",
            passed.as_secs_f64(),
            queries.ok,
            queries.failed
        ))?;
        self.print_command("kubectl get dbp")?;
        let table = setup.kubectl(&["get", "dbp"])?;
        let table: Vec<String> = table.lines().map(|line| format!("  {line}")).collect();
        self.screen.print_lines(&table)?;
        let runs = r#"jsonpath={range .status.history[*]}run for epoch {.epoch}, {.triggers[*]}: {.result}{"\n"}{end}"#;
        let runs = setup.kubectl(&["get", "dbp", POLICY, "-o", runs])?;
        let runs: Vec<String> = runs.lines().map(|line| format!("  {line}")).collect();
        self.screen.print_lines(&runs)
    }
}

/// Recycling, as the app's recipe does it, costs no query.
fn require_no_failures(snapshot: &DemoSnapshot) -> Result<()> {
    match snapshot.queries().failed {
        0 => Ok(()),
        failed => bail!("{failed} queries failed"),
    }
}
