#![allow(clippy::unwrap_used, clippy::panic)]
mod fleet;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::*;
use dbbalance_core::evidence::SocketState;
use dbbalance_core::evidence::{PodMeasurement, Socket, Unreadable, UnreadableReason};
use dbbalance_kube::sockets::{CommandPace, ConnectionReader};

/// Reads nothing, in a tenth of a second, and notes when.
#[derive(Default)]
struct Fake {
    reads: Mutex<Vec<(Instant, String)>>,
    /// Pods that fail, and those that never answer.
    failing: Mutex<BTreeMap<String, UnreadableReason>>,
    hanging: Mutex<Vec<String>>,
    /// How many sockets a pod has, if any.
    sockets: Mutex<BTreeMap<String, usize>>,
    /// How many commands a read takes, if more than one.
    commands: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Fake {
    fn reads(&self) -> Vec<(Instant, String)> {
        self.reads.lock().clone()
    }

    fn count(&self) -> usize {
        self.reads.lock().len()
    }

    fn fail(&self, uid: &str, reason: UnreadableReason) {
        self.failing.lock().insert(uid.to_owned(), reason);
    }

    /// The most reads that began within a second.
    fn most_in_a_second(&self) -> usize {
        let reads = self.reads();
        let within = |from: Instant| {
            let until = from + Duration::from_secs(1);
            reads
                .iter()
                .filter(|(at, _)| *at >= from && *at < until)
                .count()
        };
        reads.iter().map(|(at, _)| within(*at)).max().unwrap_or(0)
    }
}

fn socket() -> Socket {
    Socket {
        local: "10.0.0.1:40000".parse().unwrap(),
        remote: "10.1.0.1:5432".parse().unwrap(),
        state: SocketState::Established,
        unacknowledged: 0,
        retransmits: 0,
        unanswered_probes: 0,
        opened_after: None,
    }
}

struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl ConnectionReader for Fake {
    async fn read(
        &self,
        pod: &PodToRead,
        pace: &dyn CommandPace,
    ) -> Result<Vec<Socket>, Unreadable> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        let _busy = Busy(&self.now);
        self.most.fetch_max(now, Ordering::SeqCst);
        self.reads.lock().push((Instant::now(), pod.uid.clone()));
        if self.hanging.lock().contains(&pod.uid) {
            std::future::pending::<()>().await;
        }
        for _ in 1..self.commands.load(Ordering::SeqCst) {
            pace.wait_for_command().await;
            self.reads.lock().push((Instant::now(), pod.uid.clone()));
        }
        sleep(Duration::from_millis(100)).await;
        if let Some(count) = self.sockets.lock().get(&pod.uid) {
            return Ok(vec![socket(); *count]);
        }
        let failing = self.failing.lock().get(&pod.uid).copied();
        match failing {
            Some(reason) => Err(Unreadable::new(reason, "it fails")),
            None => Ok(Vec::new()),
        }
    }
}

struct Bench {
    fake: Arc<Fake>,
    probe: Probe,
    news: mpsc::UnboundedReceiver<TargetKey>,
    began: Instant,
}

/// The clock of the bench when it begins.
fn epoch() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

impl Bench {
    fn new() -> Self {
        let fake = Arc::new(Fake::default());
        let began = Instant::now();
        let mut config = ProbeConfig::new(Arc::<Fake>::clone(&fake));
        config.clock = Arc::new(move || epoch() + began.elapsed());
        let probe = Probe::new(config, CancellationToken::new());
        let news = probe.changes();
        Self {
            fake,
            probe,
            news,
            began,
        }
    }

    fn now(&self) -> Timestamp {
        epoch() + self.began.elapsed()
    }

    async fn at(&self, seconds: u64) {
        sleep_until(self.began + Duration::from_secs(seconds)).await;
    }

    fn news(&mut self) -> usize {
        std::iter::from_fn(|| self.news.try_recv().ok()).count()
    }
}

fn key(policy: usize) -> TargetKey {
    TargetKey {
        namespace: "shop".to_owned(),
        policy: format!("p{policy}"),
        uid: format!("uid-{policy}"),
        target: "web".to_owned(),
    }
}

fn pod(policy: usize, n: usize) -> PodToRead {
    PodToRead {
        namespace: "shop".to_owned(),
        name: format!("web-{policy}-{n}"),
        uid: format!("{policy}-{n}"),
        template: "t".to_owned(),
        port: 5432,
        containers: vec!["app".to_owned()],
        refused: None,
    }
}

fn pods(policy: usize, count: usize) -> Vec<PodToRead> {
    (0..count).map(|n| pod(policy, n)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_target_is_read_at_once_and_then_at_each_heartbeat_only() {
    let mut bench = Bench::new();
    bench.probe.measure(&key(0), pods(0, 5), MaxAge::Heartbeat);
    bench.at(2).await;
    assert_eq!(bench.fake.count(), 5);
    assert_eq!(bench.news(), 1, "a round is told once");
    assert_eq!(bench.probe.measured(&key(0)).pods.len(), 5);
    // Passes say it again and again.
    for second in 3..600 {
        bench.at(second).await;
        bench.probe.measure(&key(0), pods(0, 5), MaxAge::Heartbeat);
    }
    let rounds = bench.fake.count() / 5;
    assert!((9..=11).contains(&(rounds - 1)), "{rounds} in ten minutes");
    assert_eq!(bench.news() + 1, rounds);
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_is_read_once_and_not_again_while_it_is_fresh_enough() {
    let bench = Bench::new();
    bench.probe.measure(&key(0), pods(0, 3), MaxAge::Heartbeat);
    bench.at(10).await;
    let since = bench.now();
    for _ in 0..20 {
        bench
            .probe
            .measure(&key(0), pods(0, 3), MaxAge::Since(since));
        sleep(Duration::from_millis(70)).await;
    }
    assert_eq!(bench.fake.count(), 6);
    assert!(bench.probe.is_quiet(&key(0)));
    let measured = bench.probe.measured(&key(0));
    assert!(measured.pods.values().all(|p| p.at() >= since));
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_began_before_is_not_fresh_enough() {
    let bench = Bench::new();
    bench.probe.measure(&key(0), pods(0, 1), MaxAge::Heartbeat);
    sleep(Duration::from_millis(50)).await;
    // It is in progress, and shows the time before.
    let since = bench.now();
    bench
        .probe
        .measure(&key(0), pods(0, 1), MaxAge::Since(since));
    bench.at(2).await;
    assert_eq!(bench.fake.count(), 2);
    assert!(bench.probe.measured(&key(0)).pods["0-0"].at() >= since);
}

#[tokio::test(start_paused = true)]
async fn a_time_to_come_is_waited_for() {
    let bench = Bench::new();
    let since = bench.now() + Duration::from_secs(7);
    bench
        .probe
        .measure(&key(0), pods(0, 2), MaxAge::Since(since));
    bench.at(6).await;
    assert_eq!(bench.fake.count(), 0);
    bench.at(9).await;
    assert_eq!(bench.fake.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_hangs_is_unknown_after_its_time_and_holds_up_nobody() {
    let mut bench = Bench::new();
    bench.fake.hanging.lock().push("0-0".to_owned());
    let since = bench.now();
    bench
        .probe
        .measure(&key(0), pods(0, 4), MaxAge::Since(since));
    bench.at(2).await;
    assert_eq!(bench.probe.measured(&key(0)).pods.len(), 3);
    assert_eq!(bench.news(), 0, "the round is not over");
    sleep(Duration::from_secs(4)).await;
    let measured = bench.probe.measured(&key(0));
    let PodMeasurement::Unreadable { why, .. } = &measured.pods["0-0"] else {
        panic!("{measured:?}");
    };
    assert_eq!(why.reason, UnreadableReason::Timeout);
    assert_eq!(why.message, "pod shop/web-0-0: not read within 5 s");
    assert_eq!(bench.news(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_repeated_while_somebody_waits_and_others_are_not() {
    let bench = Bench::new();
    bench.fake.fail("0-0", UnreadableReason::ApiServerBusy);
    bench.fake.fail("0-1", UnreadableReason::NoReader);
    bench
        .probe
        .measure(&key(0), pods(0, 2), MaxAge::Since(bench.now()));
    bench.at(12).await;
    let of = |uid: &str| bench.fake.reads().iter().filter(|(_, u)| u == uid).count();
    assert_eq!((of("0-0"), of("0-1")), (3, 1));
    bench.probe.measure(&key(0), pods(0, 2), MaxAge::Heartbeat);
    bench.at(30).await;
    assert_eq!((of("0-0"), of("0-1")), (3, 1), "nobody waits any more");
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_gone_are_forgotten_and_a_changed_one_is_read_anew() {
    let bench = Bench::new();
    bench.probe.measure(&key(0), pods(0, 2), MaxAge::Heartbeat);
    bench.at(2).await;
    let mut other = pod(0, 0);
    other.port = 5433;
    bench.probe.measure(&key(0), vec![other], MaxAge::Heartbeat);
    assert!(bench.probe.measured(&key(0)).pods.is_empty());
    bench.at(3).await;
    assert_eq!(bench.probe.measured(&key(0)).pods.len(), 1);
    bench.probe.retain(&HashSet::new());
    assert!(bench.probe.measured(&key(0)).pods.is_empty());
    let before = bench.fake.count();
    bench.at(600).await;
    assert_eq!(bench.fake.count(), before);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_refused_is_told_at_once_and_never_read() {
    let bench = Bench::new();
    let mut host = pod(0, 0);
    host.refused = Some(Unreadable::new(UnreadableReason::HostNetwork, "no"));
    bench
        .probe
        .measure(&key(0), vec![host], MaxAge::Since(bench.now()));
    assert_eq!(bench.probe.measured(&key(0)).pods.len(), 1);
    assert!(bench.probe.is_quiet(&key(0)));
    bench.at(200).await;
    assert_eq!(bench.fake.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn reads_are_bounded_at_once_and_by_the_second() {
    let bench = Bench::new();
    bench
        .probe
        .measure(&key(0), pods(0, 200), MaxAge::Since(bench.now()));
    bench.at(11).await;
    assert_eq!(bench.fake.count(), 200);
    assert!(bench.fake.most_in_a_second() <= 20);
    // Half of the slots for each namespace.
    for policy in [1, 2] {
        let hanging: Vec<String> = (0..100).map(|n| format!("{policy}-{n}")).collect();
        bench.fake.hanging.lock().extend(hanging);
        let key = key_in(&format!("n{policy}"), policy);
        let since = MaxAge::Since(bench.now());
        bench.probe.measure(&key, pods(policy, 100), since);
    }
    bench.at(40).await;
    assert_eq!(bench.fake.most.load(Ordering::SeqCst), AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn three_hundred_policies_stay_under_half_of_the_cap_and_what_is_wanted_comes_first() {
    let mut bench = Bench::new();
    for policy in 0..300 {
        bench
            .probe
            .measure(&key(policy), pods(policy, 10), MaxAge::Heartbeat);
    }
    let pace = bench.probe.pace();
    assert_eq!((pace.pods, pace.slowed), (3000, true));
    assert_eq!(pace.heartbeat, Duration::from_mins(5));
    // The first sight of all is as fast as is allowed; afterwards only heartbeats.
    bench.at(200).await;
    assert!(bench.fake.count() >= 3000, "{}", bench.fake.count());
    bench.at(600).await;
    let before = bench.fake.count();
    bench.at(1200).await;
    let reads = u32::try_from(bench.fake.count() - before).unwrap();
    let rate = f64::from(reads) / 600.0;
    println!(
        "300 policies of 10 pods: {rate:.1} reads/s, a heartbeat every {} s",
        pace.heartbeat.as_secs()
    );
    assert!((8.0..=11.5).contains(&rate), "{rate}");
    assert!(bench.fake.most_in_a_second() <= 20);
    let asked = Instant::now();
    let since = bench.now();
    bench.news();
    bench
        .probe
        .measure(&key(7), pods(7, 10), MaxAge::Since(since));
    while !bench.probe.is_quiet(&key(7)) {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn heartbeats_that_hang_leave_places_for_what_is_wanted() {
    let bench = Bench::new();
    let hanging: Vec<String> = (0..50).map(|n| format!("0-{n}")).collect();
    bench.fake.hanging.lock().extend(hanging);
    bench.probe.measure(&key(0), pods(0, 50), MaxAge::Heartbeat);
    bench.at(2).await;
    let asked = Instant::now();
    bench
        .probe
        .measure(&key(1), pods(1, 5), MaxAge::Since(bench.now()));
    while !bench.probe.is_quiet(&key(1)) {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
}

/// A target of another namespace.
fn key_in(namespace: &str, policy: usize) -> TargetKey {
    TargetKey {
        namespace: namespace.to_owned(),
        ..key(policy)
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_read_for_a_lasting_reason_is_tried_again_after_minutes_only() {
    let bench = Bench::new();
    bench.fake.fail("0-0", UnreadableReason::NoReader);
    // A run waits for it all the while.
    for second in 0..1800 {
        bench.at(second).await;
        bench
            .probe
            .measure(&key(0), pods(0, 1), MaxAge::Since(bench.now()));
    }
    let reads = bench.fake.count();
    assert!((6..=9).contains(&reads), "{reads} in half an hour");
    // The right is granted: it is read at the next attempt, and then as often as is asked.
    bench.fake.failing.lock().clear();
    for second in 1800..2130 {
        bench.at(second).await;
        bench
            .probe
            .measure(&key(0), pods(0, 1), MaxAge::Since(bench.now()));
    }
    assert!(bench.fake.count() > reads + 10);
}

#[tokio::test(start_paused = true)]
async fn each_command_takes_a_token_not_each_read() {
    let bench = Bench::new();
    bench.fake.commands.store(4, Ordering::SeqCst);
    bench
        .probe
        .measure(&key(0), pods(0, 100), MaxAge::Since(bench.now()));
    bench.at(10).await;
    assert!(bench.fake.most_in_a_second() <= 20);
}

#[tokio::test(start_paused = true)]
async fn one_tenant_that_waits_for_hundreds_of_reads_leaves_others_their_turn_and_their_heartbeats()
{
    let bench = Bench::new();
    let loud = key_in("loud", 0);
    let fail = |n: usize| {
        bench
            .fake
            .fail(&format!("0-{n}"), UnreadableReason::ApiError);
    };
    (0..300).for_each(fail);
    bench.probe.measure(&key(2), pods(2, 5), MaxAge::Heartbeat);
    bench.at(1).await;
    let before = bench.fake.reads().len();
    for tenth in 10..700_u64 {
        sleep_until(bench.began + Duration::from_millis(100 * tenth)).await;
        let since = MaxAge::Since(bench.now());
        bench.probe.measure(&loud, pods(0, 300), since);
        if tenth == 300 {
            bench.probe.measure(&key(1), pods(1, 10), since);
        }
        if tenth == 320 {
            let measured = bench.probe.measured(&key(1));
            assert_eq!(measured.pods.len(), 10, "its turn comes within 2 s");
        }
    }
    let reads = bench.fake.reads();
    let heartbeats = reads[before..].iter().filter(|(_, u)| u.starts_with("2-"));
    assert_eq!(heartbeats.count(), 5, "the heartbeat of another policy");
}

#[tokio::test(start_paused = true)]
async fn pods_of_one_namespace_that_hang_leave_slots_for_the_others() {
    let bench = Bench::new();
    let hanging: Vec<String> = (0..50).map(|n| format!("0-{n}")).collect();
    bench.fake.hanging.lock().extend(hanging);
    let since = MaxAge::Since(bench.now());
    bench.probe.measure(&key_in("loud", 0), pods(0, 50), since);
    bench.at(2).await;
    let asked = Instant::now();
    bench
        .probe
        .measure(&key(1), pods(1, 5), MaxAge::Since(bench.now()));
    while !bench.probe.is_quiet(&key(1)) {
        sleep(Duration::from_millis(20)).await;
    }
    let waited = asked.elapsed();
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_sockets_of_all_pods_are_bounded_and_small_pods_are_always_kept() {
    let bench = Bench::new();
    let large = (0..100).map(|n| (format!("0-{n}"), 4_999));
    let small = (0..100).map(|n| (format!("1-{n}"), 60));
    bench.fake.sockets.lock().extend(large.chain(small));
    let loud = key_in("loud", 0);
    bench.probe.measure(&loud, pods(0, 100), MaxAge::Heartbeat);
    bench
        .probe
        .measure(&key(1), pods(1, 100), MaxAge::Heartbeat);
    bench.at(30).await;
    let count = |key: &TargetKey| {
        let measured = bench.probe.measured(key);
        let readings = measured.pods.values().filter_map(PodMeasurement::reading);
        readings.map(|r| r.sockets.len()).collect::<Vec<_>>()
    };
    assert_eq!(count(&key(1)).len(), 100);
    let kept: usize = count(&loud).iter().sum();
    assert!(kept > 190_000 && kept <= 200_000, "{kept}");
    let measured = bench.probe.measured(&loud);
    let refused = measured.pods.values().find(|p| p.reading().is_none());
    let PodMeasurement::Unreadable { why, .. } = refused.unwrap() else {
        panic!("read");
    };
    assert_eq!(why.reason, UnreadableReason::TableTooLarge);
}

#[test]
fn each_reading_dates_the_sockets_that_the_one_before_it_did_not_have() {
    let now = Instant::now();
    let mut schedule = ReadSchedule::new(Duration::from_mins(1), 10, 8, 8);
    let mut read = |second: i64, ports: &[u16]| {
        let wall = epoch() + jiff::SignedDuration::from_secs(second);
        schedule.set_pods(&key(0), vec![(pod(0, 0), MaxAge::Since(wall))], wall, now);
        let read = schedule.take_read(wall, now).unwrap();
        let sockets = ports.iter().map(|port| {
            let mut socket = socket();
            socket.local.set_port(*port);
            socket
        });
        schedule.finish_read(&read, Ok(sockets.collect()), now);
        let measured = schedule.measured(&key(0));
        let reading = measured.pods.values().next().unwrap().reading().unwrap();
        let sockets = reading.sockets.iter();
        sockets.map(|s| s.opened_after).collect::<Vec<_>>()
    };
    let first = Some(epoch() + jiff::SignedDuration::from_secs(1));
    assert_eq!(read(1, &[1, 2]), [None, None]);
    assert_eq!(read(9, &[2, 3]), [None, first]);
    assert_eq!(read(20, &[2, 3]), [None, first]);
}

#[tokio::test(start_paused = true)]
async fn a_target_tells_since_when_its_pods_are_to_be_read() {
    let bench = Bench::new();
    assert_eq!(bench.probe.requested_since(&key(0)), None);
    bench.probe.measure(&key(0), Vec::new(), MaxAge::Heartbeat);
    assert_eq!(bench.probe.requested_since(&key(0)), None, "no pods");
    bench.at(2).await;
    bench.probe.measure(&key(0), pods(0, 3), MaxAge::Heartbeat);
    let since = bench.now();
    bench.at(30).await;
    bench.probe.measure(&key(0), pods(0, 3), MaxAge::Heartbeat);
    assert_eq!(bench.probe.requested_since(&key(0)), Some(since));
    bench.probe.measure(&key(0), Vec::new(), MaxAge::Heartbeat);
    assert_eq!(bench.probe.requested_since(&key(0)), None);
}
