//! A fleet of policies: what it costs the RDS API, the API server and the machine to start, to do nothing, to follow
//! changes of pods, and to answer many failovers at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::fixture::{Noted, PROBES, SoakFixture, condition, policy, used};
use crate::seconds;
use dbbalance_testkit::api_server::{KubeApiServer, STRICT};

/// RDS calls a second while nothing moves, for as many clusters as one page of an answer holds: two every 5 s, and some
/// slack.
const QUIET_RATE: f64 = 0.5;
/// Clusters of two instances on one page of 100.
const ON_A_PAGE: usize = 50;
/// The operator's limit on effects, by default: a second, and at once.
const EFFECTS: (usize, usize) = (10, 20);
/// What the storm may take of the time that the limit allows, and for the failovers to be seen and confirmed.
const STORM: (f64, Duration) = (1.2, Duration::from_secs(20));
/// Changes of pods a second.
const CHANGES: usize = 50;

/// How large a fleet is, and how long it is watched.
#[derive(Clone, Copy, Debug)]
pub struct FleetSize {
    pub name: &'static str,
    pub policies: usize,
    pub clusters: usize,
    pub namespaces: usize,
    pub pods: usize,
    /// Clusters that fail over at once.
    pub storm: usize,
    /// Seconds.
    pub idle: u64,
    pub changing: u64,
}

/// For each run of the tests: two minutes on a machine with nothing else to do.
pub const SMALL: FleetSize = FleetSize {
    name: "small fleet",
    policies: 60,
    clusters: 10,
    namespaces: 10,
    pods: 300,
    storm: 4,
    idle: 20,
    changing: 10,
};

pub const LARGE: FleetSize = FleetSize {
    name: "fleet",
    policies: 1000,
    clusters: 100,
    namespaces: 100,
    pods: 10_000,
    storm: 20,
    idle: 600,
    changing: 60,
};

/// All in one place: each change of a pod concerns every policy.
pub const DENSE: FleetSize = FleetSize {
    name: "dense fleet",
    policies: 60,
    clusters: 1,
    namespaces: 1,
    pods: 3000,
    storm: 1,
    idle: 120,
    changing: 60,
};

impl FleetSize {
    fn namespace(&self, number: usize) -> String {
        format!("fleet-{}", number % self.namespaces)
    }

    fn pods_of_policy(&self) -> usize {
        self.pods / self.policies
    }

    fn cluster(&self, policy: usize) -> usize {
        // Policies of one namespace are on different clusters, where there are several.
        (policy / self.namespaces + policy) % self.clusters
    }
}

pub fn run(server: &KubeApiServer<'_>, size: FleetSize) {
    let (idle, changing) = (
        seconds("IDLE", size.idle),
        seconds("CHANGING", size.changing),
    );
    let fixture = SoakFixture::new(server);
    create_fleet(&fixture, size);

    let operator = fixture.start_operator();
    let began = Instant::now();
    let all = || {
        let list = server.call(Method::GET, POLICIES, &json!({})).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    };
    fixture.until_seldom("all policies Ready", Duration::from_mins(10), || {
        let all = all();
        all.len() == size.policies && all.iter().all(|p| condition(p, "Ready").0 == "True")
    });
    let ready = began.elapsed();
    let from = wait_for_quiet(&fixture);

    let (first, calls, start) = (used(&operator), fixture.relay.calls(), Instant::now());
    fixture.keep("idle", idle, || true);
    let quiet = rate(fixture.relay.calls() - calls, start.elapsed());
    let quiet_cpu =
        (used(&operator).cpu_seconds - first.cpu_seconds) / start.elapsed().as_secs_f64();
    let (noted, _) = fixture.noted(from);
    let writes: Vec<_> = noted.iter().filter(|n| n.is_write()).collect();

    let (before, start) = (used(&operator), Instant::now());
    let changed = change_pods(&fixture, size, changing);
    let changing_cpu =
        (used(&operator).cpu_seconds - before.cpu_seconds) / start.elapsed().as_secs_f64();

    let affected: Vec<_> = (0..size.policies)
        .filter(|p| size.cluster(*p) < size.storm)
        .collect();
    let start = Instant::now();
    for cluster in 0..size.storm {
        let (name, next) = (format!("c{cluster}"), format!("c{cluster}-2"));
        fixture.rds.failover(&name, Some(&next)).unwrap();
    }
    let names: Vec<_> = affected.iter().map(|p| format!("p{p}")).collect();
    let fresh = format!("0/{}", size.pods_of_policy());
    fixture.until_seldom(
        "the pods of the storm to be fresh",
        Duration::from_mins(30),
        || {
            let is_affected = |p: &&Value| names.iter().any(|n| p["metadata"]["name"] == **n);
            let done = |p: &Value| p["status"]["epoch"] == 2 && p["status"]["stale"] == *fresh;
            all().iter().filter(is_affected).all(done)
        },
    );
    let storm = start.elapsed();
    let pods = affected.len() * size.pods_of_policy();
    let allowed = to_float(pods.saturating_sub(EFFECTS.1)) / to_float(EFFECTS.0);
    let passes = Passes::read();
    let lost = fixture.count_log_lines("Lost leadership");
    let end = used(&operator);

    println!(
        "{}",
        json!({
            "test": size.name, "policies": size.policies, "clusters": size.clusters, "namespaces": size.namespaces,
            "pods": size.pods, "load_average": load_average(),
            "ready_after_seconds": ready.as_secs_f64(), "rss_kib": first.rss_kib, "rss_kib_end": end.rss_kib,
            "cpu_seconds_start": first.cpu_seconds,
            "idle_seconds": idle.as_secs(), "idle_cores": quiet_cpu, "idle_writes": writes.len(),
            "idle_rds_calls_per_second": quiet,
            "changes_per_second": rate(changed, changing), "changing_cores": changing_cpu,
            "storm_clusters": size.storm, "storm_pods": pods, "storm_seconds": storm.as_secs_f64(),
            "storm_seconds_allowed": allowed, "passes": passes.all, "passes_over_6_seconds": passes.all - passes.short,
            "leases_lost": lost,
        })
    );
    assert!(writes.is_empty(), "an idle fleet was written: {writes:?}");
    assert_eq!(lost, 0, "leadership was lost");
    assert_eq!(passes.short, passes.all, "passes over 6 s");
    if size.clusters <= ON_A_PAGE {
        assert!(quiet <= QUIET_RATE, "{quiet} RDS calls/s while quiet");
    }
    let most = STORM.0 * allowed + STORM.1.as_secs_f64();
    let took = storm.as_secs_f64();
    assert!(
        took <= most,
        "the storm took {took} s, {most} s are allowed"
    );
}

/// All policies of all namespaces.
const POLICIES: &str = "/apis/dbbalance.io/v1alpha1/dbbalancepolicies";

fn create_fleet(fixture: &SoakFixture<'_>, size: FleetSize) {
    for cluster in 0..size.clusters {
        fixture.cluster(&format!("c{cluster}"));
    }
    let server = fixture.server;
    let namespaces = (0..size.namespaces).map(|number| {
        let object = json!({"metadata": {"name": size.namespace(number)}});
        (Method::POST, "/api/v1/namespaces".to_owned(), object)
    });
    server.call_all(namespaces.collect());
    let objects = (0..size.policies).flat_map(|number| {
        let (name, namespace) = (format!("p{number}"), size.namespace(number));
        let cluster = format!("c{}", size.cluster(number));
        let deployment = SoakFixture::deployment_object(&name, size.pods_of_policy());
        let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        let policies = format!(
            "/apis/dbbalance.io/v1alpha1/namespaces/{namespace}/dbbalancepolicies?{STRICT}"
        );
        [
            (Method::POST, deployments, deployment),
            (Method::POST, policies, policy(&namespace, &name, &cluster)),
        ]
    });
    server.call_all(objects.collect());
    fixture.run_all_pods(size.pods, Duration::from_mins(10));
}

/// Waits until the writes of the beginning have ended: Ready comes before the last word on each policy. Returns the line
/// of the audit log from which on nothing has a reason to be written.
fn wait_for_quiet(fixture: &SoakFixture<'_>) -> usize {
    let mut from = fixture.noted(0).1;
    let mut since = Instant::now();
    fixture.until_seldom(
        "the writes of the beginning to end",
        Duration::from_mins(5),
        || {
            let (noted, next) = fixture.noted(from);
            if noted.iter().any(Noted::is_write) {
                since = Instant::now();
            }
            from = next;
            since.elapsed() >= Duration::from_secs(5)
        },
    );
    from
}

/// Changes pods at a constant rate. Returns how many.
fn change_pods(fixture: &SoakFixture<'_>, size: FleetSize, time: Duration) -> u64 {
    let list = fixture
        .server
        .call(Method::GET, "/api/v1/pods", &json!({}))
        .unwrap();
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let (start, mut changed) = (Instant::now(), 0_usize);
    while start.elapsed() < time {
        let second = Instant::now();
        let patches = (0..CHANGES).map(|index| {
            let pod = &pods[(changed + index) % size.pods]["metadata"];
            let text = |key: &str| pod[key].as_str().unwrap_or_default().to_owned();
            let path = format!(
                "/api/v1/namespaces/{}/pods/{}",
                text("namespace"),
                text("name")
            );
            let tick =
                json!({"metadata": {"annotations": {"example.com/tick": changed.to_string()}}});
            (Method::PATCH, path, tick)
        });
        fixture.server.call_all(patches.collect());
        changed += CHANGES;
        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    u64::try_from(changed).unwrap()
}

/// Passes of policies, by the operator's own histogram.
struct Passes {
    all: u64,
    /// Those that took at most 6 s.
    short: u64,
}

impl Passes {
    fn read() -> Self {
        let mut stream = TcpStream::connect(PROBES).unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {PROBES}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|text| text.trim().parse().ok())
                .unwrap_or_else(|| panic!("no {name}\n{page}"))
        };
        Self {
            all: value("dbbalance_reconcile_duration_seconds_count "),
            short: value("dbbalance_reconcile_duration_seconds_bucket{le=\"6.0\"} "),
        }
    }
}

/// The machine's load over the last minute: figures of a busy machine say little.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn to_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

fn rate(count: u64, time: Duration) -> f64 {
    // Far from where a float would lose a call.
    #[allow(clippy::cast_precision_loss)]
    let count = count as f64;
    count / time.as_secs_f64()
}
