//! A random night: rounds of disturbances, each followed by quiet in which all must come right again.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dbbalance_api::DbBalancePolicy;
use dbbalance_testbed::aurora::control::AuroraControl;
use dbbalance_testbed::interrupt;
use dbbalance_testbed::kubernetes::layout::API_PORT;
use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{evict_recycle, signal_recycle};
use dbbalance_testkit::tcp_relay::TcpRelay;
use dbbalance_testkit::{TestCase, checkout_path, wait_until};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use crate::availability::AvailabilityLog;
use crate::dice::Dice;
use crate::disturbance::{ALL, Disturbance, MOVERS};
use crate::fixture::{
    CLUSTER, ChaosFixture, HeldConnections, MAX_CONNECTIONS, app, deployment, held, is_right,
    operator_settings, target,
};
use crate::read_number;
use crate::rules::{
    MAX_UNAVAILABLE, RecycleLedger, eviction_violations, says_why, why_not_at_rest,
};

/// By signal and without evidence, by HTTP and with evidence, by eviction and without evidence.
pub const APPS: &[&str] = &["bank", "shop", "till"];
const MEASURED: &str = "shop";
/// The app that is evicted.
pub const EVICTED: &str = "till";
const PODS: u32 = 3;
/// Pods that start on two cores, with their pools.
const STARTED: Duration = Duration::from_mins(5);
/// In which all connections must be right once nothing happens any more.
const QUIET: Duration = Duration::from_mins(3);
/// How long a right state must last: longer than the caches keep an answer.
const LASTS: Duration = Duration::from_secs(6);
/// A failover, or a reader that starts on a busy machine.
const IDLE: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(500);

/// One of the two replicas of the operator; a dead one is started again, as its Deployment would.
pub struct Seat<'a> {
    pub identity: &'static str,
    pub relay: TcpRelay,
    pub process: Option<OperatorProcess<'a>>,
}

/// The stand in the night.
pub struct Night<'a> {
    pub case: &'a TestCase<'a>,
    pub control: AuroraControl,
    pub dice: Dice,
    pub seats: Vec<Seat<'a>>,
    wanted: BTreeMap<&'static str, usize>,
    evicted: AvailabilityLog,
    figures: NightFigures,
}

/// What a night came to.
#[derive(Debug, Default)]
struct NightFigures {
    rounds: u64,
    events: BTreeMap<String, u64>,
    recycles: u64,
    evictions: usize,
    longest_seconds: f64,
    violations: Vec<String>,
}

/// The kinds of a round and the pauses after each, from the seed and the round's number alone.
fn plan_round(seed: u64, round: u64) -> (Vec<(Disturbance, Duration)>, Duration) {
    let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(round));
    let count = dice.between(2, 5);
    let mover = dice.between(1, count);
    let mut kinds = Vec::new();
    for number in 1..=count {
        // One of them at least moves connections, so that the others meet a run.
        let among = if number == mover { MOVERS } else { ALL };
        let kind = *dice.pick(among).unwrap();
        kinds.push((kind, Duration::from_millis(dice.between(0, 8000))));
    }
    (kinds, Duration::from_secs(dice.between(5, 25)))
}

fn policy(name: &str, recycle: &Value, evidence: &str) -> Value {
    json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy", "metadata": {"name": name},
        "spec": {
            "cluster": {"identifier": CLUSTER},
            "targets": [target(name, recycle)],
            "triggers": {"readerAdded": {"settleSeconds": 5}, "readerRemoved": {"settleSeconds": 5}},
            "pacing": {"maxUnavailable": MAX_UNAVAILABLE},
            "limits": {"cooldownSeconds": 0, "maxRunsPerHour": 60},
            "budget": {"maxConnections": MAX_CONNECTIONS},
            "evidence": {"source": evidence},
        },
    })
}

/// Plays the night; an error has its violations.
pub fn run() -> Result<(), String> {
    let fixture = ChaosFixture::up("quick", &["activerecord", "hikaricp"]);
    fixture.suite.run(|| play(&fixture))?
}

async fn play(fixture: &ChaosFixture) -> Result<(), String> {
    let clock = u64::try_from(Timestamp::now().as_second()).unwrap();
    let seed = read_number("DBBALANCE_CHAOS_SEED", clock);
    let lasts = Duration::from_secs(read_number("DBBALANCE_CHAOS_SECONDS", 1800));
    let case = fixture.case().await;
    let mut night = Night::prepare(&case, seed).await;
    println!("seed {seed}, {} s", lasts.as_secs());
    let begun = Instant::now();
    while begun.elapsed() < lasts && !interrupt::is_interrupted() {
        night.play_round(seed).await;
    }
    let figures = &night.figures;
    println!(
        "figures: chaos: {}",
        json!({
            "seed": seed, "seconds": begun.elapsed().as_secs(), "rounds": figures.rounds,
            "events": figures.events.values().sum::<u64>(), "kinds": figures.events,
            "recycles": figures.recycles, "evictions": figures.evictions,
            "longestUntilRightSeconds": figures.longest_seconds, "violations": figures.violations.len(),
        })
    );
    if figures.violations.is_empty() {
        Ok(())
    } else {
        Err(figures.violations.join("\n"))
    }
}

impl<'a> Night<'a> {
    async fn prepare(case: &'a TestCase<'a>, seed: u64) -> Self {
        let control = AuroraControl::inside();
        let http = json!({"port": 8080, "path": "/pool/recycle", "timeoutSeconds": 5});
        let http = json!({"method": "HTTP", "http": http});
        let apps = [
            ("bank", "activerecord", signal_recycle(), "None"),
            (MEASURED, "hikaricp", http, "ProcNet"),
            (EVICTED, "hikaricp", evict_recycle(), "None"),
        ];
        for (name, image, _, _) in &apps {
            case.create::<Deployment>(deployment(name, &app(image, PODS)))
                .await;
        }
        let pods = usize::try_from(PODS).unwrap();
        let evicted = AvailabilityLog::watch(case, EVICTED, pods);
        let mut night = Self {
            case,
            control,
            dice: Dice::new(seed),
            seats: Vec::new(),
            wanted: APPS.iter().map(|app| (*app, pods)).collect(),
            evicted,
            figures: NightFigures::default(),
        };
        night.control.observe(CLUSTER).unwrap();
        wait_until("full pools on the right side", STARTED, async || {
            night.wrong_apps().is_empty().then_some(())
        })
        .await;
        for identity in ["first", "second"] {
            let relay = TcpRelay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT)));
            night.seats.push(Seat {
                identity,
                relay,
                process: None,
            });
        }
        night.revive_operators().await;
        for (name, _, recycle, evidence) in &apps {
            case.create_with_baseline(policy(name, recycle, evidence))
                .await;
        }
        night
    }

    /// Starts replicas that have died.
    async fn revive_operators(&mut self) {
        for seat in &mut self.seats {
            if seat.process.as_ref().is_some_and(OperatorProcess::is_alive) {
                continue;
            }
            seat.process = None;
            let settings = OperatorSettings {
                api_port: Some(seat.relay.port),
                ..operator_settings()
            };
            seat.process = Some(OperatorProcess::with(self.case, seat.identity, &settings).await);
        }
    }

    /// The replica that holds the lease, if it runs.
    pub async fn leading_seat(&self) -> Option<usize> {
        let lease = self.case.api::<Lease>().get("dbbalance").await.ok()?;
        let holder = lease.spec?.holder_identity?;
        self.seats
            .iter()
            .position(|s| s.identity == holder && s.process.is_some())
    }

    /// Notes how many pods an app should have.
    pub fn set_wanted(&mut self, app: &'static str, pods: usize) {
        self.wanted.insert(app, pods);
        if app == EVICTED {
            self.evicted.set_wanted(pods);
        }
    }

    /// Apps whose pools are not full, or not on the right side, by the databases' own view.
    fn wrong_apps(&self) -> Vec<(&'static str, HeldConnections)> {
        let Ok(seen) = self.control.observation(CLUSTER) else {
            return APPS
                .iter()
                .map(|app| (*app, HeldConnections::default()))
                .collect();
        };
        let all = self.wanted.iter().map(|(app, pods)| {
            let now = held(&seen, app);
            (*app, now, is_right(now, *pods))
        });
        all.filter(|(_, _, right)| !right)
            .map(|(app, now, _)| (app, now))
            .collect()
    }

    async fn policies(&self) -> Vec<DbBalancePolicy> {
        let api = self.case.api::<DbBalancePolicy>();
        let mut all = Vec::new();
        for app in APPS {
            all.extend(api.get(app).await.ok());
        }
        all
    }

    async fn ledgers(&self) -> BTreeMap<&'static str, RecycleLedger> {
        let mut ledgers = BTreeMap::new();
        for app in APPS {
            ledgers.insert(*app, RecycleLedger::read(self.case, app).await);
        }
        ledgers
    }

    async fn play_round(&mut self, seed: u64) {
        let (kinds, held_for) = plan_round(seed, self.figures.rounds);
        self.figures.rounds += 1;
        let (before, from) = (self.ledgers().await, Timestamp::now());
        let names: Vec<String> = kinds.iter().map(|(kind, _)| format!("{kind:?}")).collect();
        println!(
            "{from:.0} round {}: {}",
            self.figures.rounds,
            names.join(", ")
        );
        // What was seen of the rounds before is not needed again.
        self.control.observe(CLUSTER).unwrap();
        let mut endings = Vec::new();
        for (kind, pause) in &kinds {
            endings.extend(self.begin(*kind).await);
            tokio::time::sleep(*pause).await;
        }
        tokio::time::sleep(held_for).await;
        for ending in endings.into_iter().rev() {
            self.end(ending).await;
        }
        for name in names {
            *self.figures.events.entry(name).or_default() += 1;
        }
        self.revive_operators().await;
        self.control.wait_idle(CLUSTER, IDLE).unwrap();
        let mut violations = self.wait_until_right().await;
        let redo = kinds.iter().any(|(kind, _)| kind.leaves_effects_unknown());
        violations.extend(self.judge_effects(&before, from, redo).await);
        if !violations.is_empty() {
            self.keep_logs();
        }
        for violation in violations {
            println!("  violation in round {}: {violation}", self.figures.rounds);
            self.figures
                .violations
                .push(format!("round {}: {violation}", self.figures.rounds));
        }
    }

    /// Keeps what the operators have logged, as the testbed is taken away.
    fn keep_logs(&self) {
        let folder = checkout_path("target/chaos");
        std::fs::create_dir_all(&folder).unwrap();
        for seat in &self.seats {
            let log = seat
                .process
                .as_ref()
                .map_or_else(String::new, OperatorProcess::log);
            let file = folder.join(format!(
                "round-{}-{}.log",
                self.figures.rounds, seat.identity
            ));
            std::fs::write(&file, log).unwrap();
            println!("  log: {}", file.display());
        }
    }

    /// Waits for right connections and policies at rest; returns what is not so in time.
    async fn wait_until_right(&mut self) -> Vec<String> {
        let (begun, mut right) = (Instant::now(), None);
        let mut first_right = None;
        while begun.elapsed() < QUIET + LASTS && !interrupt::is_interrupted() {
            let is_right = self.wrong_apps().is_empty();
            right = is_right.then(|| right.unwrap_or_else(Instant::now));
            first_right = right.map(|since: Instant| since.duration_since(begun));
            let policies = self.policies().await;
            let at_rest = policies.len() == APPS.len()
                && policies.iter().all(|p| why_not_at_rest(p).is_none());
            if at_rest && right.is_some_and(|since| since.elapsed() >= LASTS) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let mut violations = Vec::new();
        if let Some(took) = first_right {
            let took = took.as_secs_f64();
            self.figures.longest_seconds = self.figures.longest_seconds.max(took);
            println!(
                "  right after {took:.0} s, at rest after {} s",
                begun.elapsed().as_secs()
            );
        } else {
            let seconds = QUIET.as_secs();
            for (app, now) in self.wrong_apps() {
                let pods = self.wanted[app];
                violations.push(format!(
                    "{app}: after {seconds} s of quiet {pods} pods hold {now:?}"
                ));
            }
        }
        for policy in self.policies().await {
            let Some(why) = why_not_at_rest(&policy) else {
                continue;
            };
            let name = policy.metadata.name.clone().unwrap_or_default();
            println!("  {name} is not at rest: {why}");
            if !says_why(&policy) {
                violations.push(format!("{name} is stuck and names no gate: {why}"));
            }
        }
        violations
    }

    /// Judges what was done to pods since the round's begin.
    async fn judge_effects(
        &mut self,
        before: &BTreeMap<&'static str, RecycleLedger>,
        from: Timestamp,
        redo: bool,
    ) -> Vec<String> {
        let after = self.ledgers().await;
        let mut violations = Vec::new();
        let mut words = Vec::new();
        for (app, now) in &after {
            let was = &before[app];
            violations.extend(now.violations(app, was, *app == MEASURED, redo));
            let recycles = now.since(was);
            self.figures.recycles += recycles;
            words.push(format!(
                "{app} {recycles} in {} epochs",
                now.epoch - was.epoch
            ));
        }
        let epochs = after[EVICTED].epoch - before[EVICTED].epoch;
        let (evictions, problems) =
            eviction_violations(&self.case.changes(), from, &self.evicted, epochs);
        self.figures.evictions += evictions;
        violations.extend(problems);
        println!("  recycles: {}; {evictions} evictions", words.join(", "));
        violations
    }
}

pub fn a_seed_repeats_its_rounds() {
    for round in 0..20 {
        assert_eq!(plan_round(7, round), plan_round(7, round));
    }
    let differs = (0..20).any(|round| plan_round(7, round) != plan_round(8, round));
    assert!(differs, "another seed is another night");
    let kinds = (0..500).flat_map(|round| plan_round(7, round).0);
    let met: Vec<Disturbance> = kinds.map(|(kind, _)| kind).collect();
    assert!(
        ALL.iter().all(|kind| met.contains(kind)),
        "every kind is met"
    );
}
