//! The story: what happens, in which order, and what must come true by when.
//!
//! Each chapter is an order or two and a wait for what [`Sight`] must show. It touches nothing but the testbed's Aurora and
//! the policy's mode: all that moves a connection in it is the operator.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::picture;
use super::screen::Screen;
use super::sight::{Observer, Sight};
use super::stage::{CLUSTER, CONNECTIONS, POLICY, Stage, file};
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
pub fn play(stage: &Stage, screen: &mut Screen) -> Result<()> {
    let began = Instant::now();
    let mut watch = Watch {
        observer: Observer::new(stage),
        screen,
    };
    watch.begin(stage)?;
    let joined = watch.a_reader_joins(stage)?;
    watch.the_policy_acts(stage, &joined)?;
    watch.failover(stage)?;
    watch.end(stage, began.elapsed())?;
    // With KEEP=1 all runs on, for hours maybe.
    stage.control.unobserve(CLUSTER)
}

struct Watch<'a> {
    observer: Observer<'a>,
    screen: &'a mut Screen,
}

impl Watch<'_> {
    /// Draws what is seen until it is as it shall be; gives the time that it took.
    fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut come_true: impl FnMut(&Sight) -> Result<bool>,
    ) -> Result<Duration> {
        let began = Instant::now();
        let Self { observer, screen } = self;
        let ended = wait::until(what, limit, || {
            let Some(sight) = observer.look()? else {
                return Ok(None);
            };
            let passed = began.elapsed();
            screen.draw(
                &picture::lines(sight, passed, screen.ink()),
                &picture::key(sight),
                &picture::line(sight, passed),
            )?;
            Ok(come_true(sight)?.then_some(passed))
        });
        let sight = observer.sight();
        screen.settle(&[
            picture::line(sight, began.elapsed()),
            format!("           {}: {}", sight.policy.mode, picture::said(sight)),
        ])?;
        ended
    }

    fn say(&mut self, text: &str) -> Result<()> {
        let ink = self.screen.ink();
        self.screen.page(&[ink.dim(&format!("  {text}"))])
    }

    fn typed(&mut self, text: &str) -> Result<()> {
        let ink = self.screen.ink();
        self.screen.page(&[ink.typed(&format!("  $ {text}"))])
    }

    fn came_true(&mut self, text: &str, passed: Duration) -> Result<()> {
        let line = picture::outcome(text, passed, self.screen.ink());
        self.screen.page(&[line])
    }

    fn begin(&mut self, stage: &Stage) -> Result<()> {
        self.screen
            .heading("1  Two readers, and a policy that only watches: mode Observe")?;
        self.typed("kubectl apply -f policy.yaml")?;
        stage.kubectl(&["apply", "-f", &file("policy.yaml")])?;
        let passed = self.until("the policy's first measurement", FIRST_SIGHT, |sight| {
            Ok(sight.policy.epoch == 1 && sight.measured() && sight.connections() == CONNECTIONS)
        })?;
        self.came_true("the operator has read the cluster and all pods", passed)
    }

    /// Gives the new reader's name.
    fn a_reader_joins(&mut self, stage: &Stage) -> Result<String> {
        self.screen
            .heading("2  A third reader joins. Pools are connected: none looks up DNS")?;
        let name = stage.control.add_reader(CLUSTER)?;
        let mut since: Option<Instant> = None;
        let passed = self.until("the new reader in DNS and in the plan", JOINED, |sight| {
            let Some(new) = sight.instances.iter().find(|i| i.name == name) else {
                return Ok(false);
            };
            if new.connections > 0 || sight.queries().recycles > 0 {
                bail!("something moved connections, though the policy only observes");
            }
            let known = new.served && sight.policy.epoch == 2 && sight.policy.state == "Unbalanced";
            let watched = *since.get_or_insert_with(Instant::now);
            if !known {
                since = None;
            }
            Ok(known && watched.elapsed() >= IDLE)
        })?;
        self.came_true(
            &format!("{name} serves and stays idle; the plan says what would be done"),
            passed,
        )?;
        Ok(name)
    }

    fn the_policy_acts(&mut self, stage: &Stage, joined: &str) -> Result<()> {
        self.screen.heading("3  The policy may act: mode Enforce")?;
        let patch = r#"{"spec":{"mode":"Enforce"}}"#;
        self.typed(&format!(
            "kubectl patch dbp {POLICY} --type=merge -p '{patch}'"
        ))?;
        stage.kubectl(&["patch", "dbp", POLICY, "--type=merge", "-p", patch])?;
        let passed = self.until("even shares", EVEN, |sight| {
            without_failures(sight)?;
            let served = sight
                .instances
                .iter()
                .any(|i| i.name == joined && i.connections > 0);
            Ok(served && sight.even(CONNECTIONS))
        })?;
        let text = format!(
            "even: {} of 12 pods recycled, no query failed",
            self.observer.sight().recycled()
        );
        self.came_true(&text, passed)
    }

    fn failover(&mut self, stage: &Stage) -> Result<()> {
        self.screen
            .heading("4  A failover, and DNS flickers: new, old, new")?;
        let from = self.observer.sight();
        let target = from
            .readers()
            .max_by_key(|i| i.connections)
            .map(|i| i.name.clone())
            .context("there is no reader to fail over to")?;
        self.say(&format!(
            "{target} becomes the writer without a restart, and reader pools keep their sockets to it."
        ))?;
        let options = FailoverOptions {
            flicker: true,
            keep_target: true,
            ..FailoverOptions::default()
        };
        stage.control.failover(CLUSTER, Some(&target), options)?;
        let began = Instant::now();
        let mut left: Option<Duration> = None;
        let passed = self.until(
            "no reader pool on the new writer, and even shares",
            EVEN,
            |sight| {
                without_failures(sight)?;
                let promoted = sight
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
                    && sight.policy.writer == target
                    && sight.policy.epoch >= 3
                    && sight.even(CONNECTIONS))
            },
        )?;
        let left = left.unwrap_or(passed).as_secs_f64();
        self.came_true(
            &format!("the reader pools left {target} after {left:.0} s, and are even again"),
            passed,
        )
    }

    fn end(&mut self, stage: &Stage, passed: Duration) -> Result<()> {
        let queries = self.observer.sight().queries();
        self.screen.heading(&format!(
            "The story took {:.0} s: {} queries answered, {} failed",
            passed.as_secs_f64(),
            queries.ok,
            queries.failed
        ))?;
        self.typed("kubectl get dbp")?;
        let table = stage.kubectl(&["get", "dbp"])?;
        let table: Vec<String> = table.lines().map(|line| format!("  {line}")).collect();
        self.screen.page(&table)?;
        let runs = r#"jsonpath={range .status.history[*]}run for epoch {.epoch}, {.triggers[*]}: {.result}{"\n"}{end}"#;
        let runs = stage.kubectl(&["get", "dbp", POLICY, "-o", runs])?;
        let runs: Vec<String> = runs.lines().map(|line| format!("  {line}")).collect();
        self.screen.page(&runs)
    }
}

/// Recycling, as the app's recipe does it, costs no query.
fn without_failures(sight: &Sight) -> Result<()> {
    match sight.queries().failed {
        0 => Ok(()),
        failed => bail!("{failed} queries failed"),
    }
}
