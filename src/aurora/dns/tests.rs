#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

//! The pace, the news and the memory of looks, with a resolver by script and paused time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::SignedDuration;
use tokio::time::sleep;

use super::question::DnsQuestion;
use super::*;
use crate::aurora::NoStats;
use crate::aurora::access::{RoleKey, SourceKey};
use crate::clock::Clock;
use dbbalance_core::narrow::Led;
use dbbalance_core::testing::topology;
use dbbalance_core::topology::{ClusterId, Endpoints, MemberFacts};

/// Answers by script: for each name a row of instances, the last one for ever; `-` is no such name, `?` no answer.
#[derive(Default)]
struct Script {
    rows: Mutex<BTreeMap<String, String>>,
    asked: Mutex<BTreeMap<String, usize>>,
    total: AtomicUsize,
    /// Whether the alias is told, as most resolvers do.
    aliases: bool,
    ttl: u32,
}

impl Script {
    fn set(&self, name: &str, row: &str) {
        self.rows.lock().insert(name.into(), row.into());
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().get(name).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Resolve for Script {
    async fn resolve(&self, name: &str, family: IpFamily) -> Result<LookupAnswer, LookupError> {
        self.total.fetch_add(1, Ordering::SeqCst);
        if family == IpFamily::V6 {
            return Err(LookupError::NoAddress);
        }
        *self.asked.lock().entry(name.into()).or_default() += 1;
        let letter = {
            let mut rows = self.rows.lock();
            let row = rows.entry(name.into()).or_insert_with(|| "-".into());
            let letter = row.chars().next().unwrap();
            if row.len() > 1 {
                row.remove(0);
            }
            letter
        };
        match letter {
            '-' => Err(LookupError::NoSuchName),
            '?' => {
                sleep(Duration::from_secs(2)).await;
                Err(LookupError::Unanswered)
            }
            letter => Ok(LookupAnswer {
                addresses: vec![[10, 0, 0, letter as u8].into()],
                aliases: if self.aliases {
                    vec![format!("{letter}.zone.")]
                } else {
                    vec![]
                },
                ttl: self.ttl,
            }),
        }
    }
}

fn view(letters: &str) -> ClusterView {
    let topology = topology(letters);
    let facts = topology
        .members()
        .map(|(m, _)| {
            let facts = MemberFacts {
                class: None,
                endpoint: Some(format!("{}.zone", m.instance)),
                serverless: None,
                is_available: true,
            };
            (m.instance.clone(), facts)
        })
        .collect();
    ClusterView {
        topology,
        engine: "aurora-postgresql".into(),
        endpoints: Endpoints {
            writer: Some("c.cluster-zone".into()),
            reader: Some("c.cluster-ro-zone".into()),
            port: Some(5432),
        },
        facts,
        leaving: std::collections::BTreeSet::new(),
    }
}

fn key(cluster: &str) -> ClusterKey {
    ClusterKey {
        source: SourceKey {
            role: None,
            region: "eu-west-1".into(),
        },
        cluster: ClusterId(cluster.into()),
    }
}

struct Bed {
    script: Arc<Script>,
    dns: DnsWatch,
    clock: Clock,
}

impl Bed {
    /// DNS of a cluster `abc`, in which all is as the topology says.
    fn new(aliases: bool, lookups_per_second: u32) -> Self {
        let script = Arc::new(Script {
            aliases,
            ttl: 1,
            ..Script::default()
        });
        script.set("c.cluster-zone", "a");
        script.set("c.cluster-ro-zone", "b");
        for letter in ["a", "b", "c", "d"] {
            script.set(&format!("{letter}.zone"), letter);
        }
        let began = Instant::now();
        let clock: Clock = Arc::new(move || {
            let passed = SignedDuration::try_from(began.elapsed()).unwrap();
            Timestamp::from_second(1_780_000_000).unwrap() + passed
        });
        let config = DnsConfig {
            resolver: Arc::clone(&script) as Arc<dyn Resolve>,
            lookups_per_second,
            clock: Arc::clone(&clock),
            stats: Arc::new(NoStats),
        };
        let dns = DnsWatch::new(config, CancellationToken::new());
        Self { script, dns, clock }
    }

    fn want(&self, seconds: i64) {
        let until = (self.clock)() + SignedDuration::from_secs(seconds);
        self.dns.boost_until(&key("c"), until);
    }

    fn writers(&self) -> String {
        let view = self.dns.view(&key("c"));
        let letter = |l: &dbbalance_core::dns::DnsSample| {
            view.instance_of(l)
                .map_or_else(|| l.failure.map_or("?", |_| "-").into(), |i| i.0)
        };
        view.writer.iter().map(letter).collect()
    }
}

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

fn drain(news: &mut mpsc::UnboundedReceiver<DnsUpdate>) -> Vec<DnsUpdate> {
    std::iter::from_fn(|| news.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_idle_cluster_is_looked_at_every_five_seconds_and_a_wanted_one_eight_times_a_second() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("abc"));
    pass(60).await;
    let idle = bed.script.asked("c.cluster-zone");
    assert!((12..=13).contains(&idle), "{idle} in a minute");
    assert!((2..=3).contains(&bed.script.asked("b.zone")));
    bed.want(10);
    pass(10).await;
    let wanted = bed.script.asked("c.cluster-zone") - idle;
    assert!((70..=82).contains(&wanted), "{wanted} in ten seconds");
    pass(60).await;
    let after = bed.script.asked("c.cluster-zone") - idle - wanted;
    assert!(after <= 14, "{after} in a minute: it is idle again");
}

#[tokio::test(start_paused = true)]
async fn a_long_ttl_is_waited_for_while_nobody_wants_it() {
    let script = Script {
        ttl: 40,
        aliases: true,
        ..Script::default()
    };
    script.set("c.cluster-zone", "a");
    let mut bed = Bed::new(true, 50);
    bed.script = Arc::new(script);
    let config = DnsConfig {
        resolver: Arc::clone(&bed.script) as Arc<dyn Resolve>,
        ..bed.dns.shared.config.clone()
    };
    bed.dns = DnsWatch::new(config, CancellationToken::new());
    bed.dns.watch(&key("c"), &view("abc"));
    pass(119).await;
    assert_eq!(bed.script.asked("c.cluster-zone"), 3);
}

#[tokio::test(start_paused = true)]
async fn all_clusters_together_stay_under_the_bound_and_share_it() {
    let bed = Bed::new(true, 50);
    for n in 0..20 {
        let key = key(&format!("c{n}"));
        let mut view = view("abc");
        view.topology.arn = format!("arn-{n}");
        bed.dns.watch(&key, &view);
        let until = (bed.clock)() + SignedDuration::from_secs(100);
        bed.dns.boost_until(&key, until);
    }
    pass(10).await;
    let total = bed.script.total.load(Ordering::SeqCst);
    assert!((480..=501).contains(&total), "{total} in ten seconds");
    let fewest = (0..20).map(|n| bed.dns.view(&key(&format!("c{n}"))).writer.len());
    assert!(fewest.min().unwrap() >= 5, "every cluster has its turn");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_not_answered_holds_up_no_other() {
    let bed = Bed::new(true, 100);
    bed.script.set("c.cluster-zone", "?????????a");
    bed.dns.watch(&key("c"), &view("abc"));
    bed.want(10);
    pass(4).await;
    let looks = bed.writers();
    assert!(looks.starts_with("---------a"), "{looks}");
    assert!(looks.len() >= 25, "{looks}");
}

#[tokio::test(start_paused = true)]
async fn without_aliases_the_address_book_tells_the_instance() {
    let bed = Bed::new(false, 50);
    bed.dns.watch(&key("c"), &view("abc"));
    pass(1).await;
    assert_eq!(bed.writers(), "a");
    let view = bed.dns.view(&key("c"));
    assert_eq!(
        view.book
            .record_of([10, 0, 0, b'c'].into())
            .unwrap()
            .instance
            .0,
        "c"
    );
}

#[tokio::test(start_paused = true)]
async fn a_removed_instance_is_recognised_by_name_and_by_address() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("abc"));
    pass(1).await;
    bed.dns.watch(&key("c"), &view("ab"));
    bed.script.set("c.cluster-ro-zone", "c");
    pass(5).await;
    let view = bed.dns.view(&key("c"));
    let last = view.reader.last().unwrap();
    assert_eq!(last.instance.as_ref().unwrap().0, "c");
    let known = view.book.record_of(last.address.unwrap()).unwrap();
    assert_eq!((known.instance.0.as_str(), known.current), ("c", false));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_removed_before_we_began_is_known_by_the_shape_of_its_name() {
    let bed = Bed::new(true, 50);
    bed.script.set("c.cluster-ro-zone", "z");
    bed.dns.watch(&key("c"), &view("ab"));
    pass(1).await;
    let view = bed.dns.view(&key("c"));
    assert_eq!(view.reader[0].instance.as_ref().unwrap().0, "z");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_tells_nothing() {
    let bed = Bed::new(true, 50);
    let mut news = bed.dns.updates();
    bed.script.set("c.cluster-ro-zone", "bcbcbcbbcb");
    bed.dns.watch(&key("c"), &view("abc"));
    pass(300).await;
    let told = drain(&mut news);
    assert!(told.iter().all(|n| !n.ahead_of_rds && !n.wake), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn another_writer_is_sensed_looked_at_closely_and_agreed_on_within_two_seconds() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("abc"));
    pass(9).await;
    let mut news = bed.dns.updates();
    bed.script.set("c.cluster-zone", "b");
    pass(3).await;
    let told = drain(&mut news);
    assert!(told[0].ahead_of_rds && told[0].wake, "{told:?}");
    assert_eq!(
        told.iter().filter(|n| n.ahead_of_rds).count(),
        1,
        "{told:?}"
    );
    let agreed = told.last().unwrap().writer.as_ref();
    assert_eq!(agreed.map(|i| i.0.as_str()), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn flicker_is_news_each_time_and_agreed_on_only_when_it_is_over() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("bac"));
    bed.script.set("c.cluster-zone", "bbbbbabbbbbbabbbbbbbbbbb");
    let mut news = bed.dns.updates();
    bed.want(10);
    pass(3).await;
    let told = drain(&mut news);
    assert_eq!(
        told.iter().filter(|n| n.ahead_of_rds).count(),
        2,
        "{told:?}"
    );
    let agreed: Vec<_> = told.iter().filter(|n| n.writer.is_some()).collect();
    assert_eq!(agreed.len(), 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_no_member_is_sensed_once() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("abc"));
    pass(9).await;
    let mut news = bed.dns.updates();
    bed.script.set("c.cluster-ro-zone", "dbdbdbdbd");
    pass(8).await;
    let told = drain(&mut news);
    assert_eq!(
        told.iter().filter(|n| n.ahead_of_rds).count(),
        1,
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_do_not_exist_are_looks_with_words_and_wake_who_waits() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("abc"));
    pass(1).await;
    bed.want(20);
    let mut news = bed.dns.updates();
    bed.script.set("c.cluster-zone", "-");
    bed.script.set("c.cluster-ro-zone", "-");
    pass(2).await;
    assert!(drain(&mut news).iter().any(|n| n.wake && !n.ahead_of_rds));
    let view = bed.dns.view(&key("c"));
    assert_eq!(view.failure(), Some(LookupError::NoSuchName.describe()));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_cluster_is_looked_at_no_more() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("abc"));
    pass(1).await;
    bed.dns.retain(&HashSet::new());
    let before = bed.script.total.load(Ordering::SeqCst);
    pass(100).await;
    assert_eq!(bed.script.total.load(Ordering::SeqCst), before);
    assert!(bed.dns.view(&key("c")).writer.is_empty());
}

#[tokio::test(start_paused = true)]
async fn keys_of_one_cluster_share_its_sampler_until_the_last_is_dropped() {
    let bed = Bed::new(true, 50);
    let mut by_role = key("c");
    by_role.source.role = Some(RoleKey {
        arn: "arn:aws:iam::1:role/a".into(),
        external_id: None,
    });
    let mut updates = bed.dns.updates();
    bed.dns.watch(&key("c"), &view("abc"));
    bed.dns.watch(&by_role, &view("abc"));
    pass(3).await;
    assert_eq!(bed.script.asked("c.cluster-zone"), 1);
    assert!(!bed.dns.view(&by_role).book.is_empty());
    bed.want(3);
    pass(3).await;
    let told: HashSet<ClusterKey> = drain(&mut updates).into_iter().map(|u| u.key).collect();
    assert_eq!(told, HashSet::from([key("c"), by_role.clone()]));

    bed.dns.retain(&HashSet::from([by_role]));
    let asked = bed.script.asked("c.cluster-zone");
    pass(10).await;
    assert_eq!(bed.script.asked("c.cluster-zone"), asked + 2);
    bed.dns.retain(&HashSet::new());
    pass(60).await;
    assert_eq!(bed.script.asked("c.cluster-zone"), asked + 2);
}

#[tokio::test(start_paused = true)]
async fn a_steered_name_is_looked_at_ten_times_a_second_and_only_while_it_is_narrowed() {
    let bed = Bed::new(true, 50);
    let name = "orders-ro.shop.svc.cluster.local";
    bed.script.set(name, "c");
    bed.dns.watch(&key("c"), &view("abc"));
    pass(60).await;
    assert_eq!(bed.script.asked(name), 0, "nobody has narrowed it");
    bed.dns.look_at(&key("c"), name);
    pass(3).await;
    let asked = bed.script.asked(name);
    assert!((28..=31).contains(&asked), "{asked} in three seconds");
    let looks = bed.dns.name_looks(&key("c"), name).looks;
    let c = Some(Led::Instance(InstanceId("c".into())));
    assert!(looks.iter().all(|look| look.led == c), "{looks:?}");
    bed.dns.look_away(&key("c"), name);
    pass(60).await;
    assert!(bed.script.asked(name) <= asked + 1);
    assert!(bed.dns.name_looks(&key("c"), name).looks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_greatest_ttl_of_a_steered_name_is_kept_when_it_is_looked_at_anew() {
    let script = Script {
        ttl: 30,
        aliases: true,
        ..Script::default()
    };
    script.set("name", "c");
    let mut bed = Bed::new(true, 50);
    bed.script = Arc::new(script);
    let config = DnsConfig {
        resolver: Arc::clone(&bed.script) as Arc<dyn Resolve>,
        ..bed.dns.shared.config.clone()
    };
    bed.dns = DnsWatch::new(config, CancellationToken::new());
    bed.dns.watch(&key("c"), &view("abc"));
    assert_eq!(bed.dns.name_looks(&key("c"), "name").greatest_ttl, None);
    bed.dns.look_at(&key("c"), "name");
    pass(1).await;
    bed.dns.look_away(&key("c"), "name");
    bed.script.set("name", "-");
    bed.dns.look_at(&key("c"), "name");
    pass(1).await;
    let known = bed.dns.name_looks(&key("c"), "name");
    assert_eq!(known.greatest_ttl, Some(30));
    assert_eq!(known.looks.last().unwrap().led, None);
}

#[tokio::test(start_paused = true)]
async fn a_steered_name_wakes_when_twelve_looks_agree_and_when_one_fails() {
    let bed = Bed::new(true, 50);
    bed.script.set("name", "bcbcbcbcbcbcccccccccccccccccccccc");
    bed.dns.watch(&key("c"), &view("abc"));
    pass(1).await;
    let mut news = bed.dns.updates();
    bed.dns.look_at(&key("c"), "name");
    pass(5).await;
    let told = drain(&mut news);
    assert_eq!(told.iter().filter(|n| n.wake).count(), 1, "{told:?}");
    assert!(told.iter().all(|n| !n.ahead_of_rds), "{told:?}");
    bed.script.set("name", "-");
    pass(2).await;
    let told = drain(&mut news);
    assert!(!told.is_empty() && told[0].wake, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_by_way_of_the_reader_endpoint_is_auroras_whichever_instance_it_names() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("abc"));
    pass(1).await;
    let sampled = Arc::clone(bed.dns.shared.lock_clusters().get(&key("c")).unwrap());
    let led = |name: &str, aliases: &[&str]| {
        let question = DnsQuestion::Steered {
            name: name.to_owned(),
            server: 0,
        };
        let answer = LookupAnswer {
            addresses: vec![[10, 0, 0, b'c'].into()],
            aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
            ttl: 1,
        };
        let mut names = sampled.lock_names();
        names.steered.start(name, 1);
        names.record_answer(&question, (bed.clock)(), Ok(answer), Instant::now());
        names.steered.view(name).looks.last().unwrap().led.clone()
    };
    let c = Some(Led::Instance(InstanceId("c".into())));
    assert_eq!(led("orders-ro", &["c.zone."]), c);
    let chain = ["c.cluster-ro-zone.", "c.zone."];
    assert_eq!(led("orders-ro", &chain), Some(Led::Aurora));
    // By a slice Aurora's own name is answered without an alias.
    assert_eq!(led("C.cluster-ro-zone", &[]), c);
    assert_eq!(led("c.cluster-ro-zone", &["c.zone."]), Some(Led::Aurora));
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_looked_up_out_of_turn_by_the_endpoint_that_the_topology_gave() {
    let bed = Bed::new(true, 50);
    bed.dns.watch(&key("c"), &view("ab"));
    pass(1).await;
    bed.script.set("b.zone", "z");
    let b = InstanceId("b".into());
    let (addresses, at) = bed.dns.look_up_instance(&key("c"), &b).await.unwrap();
    assert_eq!(addresses, [IpAddr::from([10, 0, 0, b'z'])]);
    assert!((bed.clock)().duration_since(at) < SignedDuration::from_secs(1));
    let book = bed.dns.view(&key("c")).book.clone();
    assert_eq!(book.current_addresses(&b).collect::<Vec<_>>(), addresses);
    let stranger = InstanceId("d".into());
    assert!(
        bed.dns
            .look_up_instance(&key("c"), &stranger)
            .await
            .is_none()
    );
}
