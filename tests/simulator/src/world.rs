//! Pods with pools, and the clock that moves them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;

use crate::case::{Caches, ProcessCache, SimulationCase};
use crate::dns::{Authority, Dns, Millis};

/// How long a process keeps an answer: the JVM's default is 30 s.
const PROCESS_WINDOW: Millis = 30_000;

/// A pod with one pool.
#[derive(Clone, Debug)]
pub struct SimulatedPod {
    /// Another one after an eviction.
    pub id: String,
    /// Its node.
    pub node: usize,
    /// Connections to each reader.
    pub held: Vec<u32>,
    /// Signalled or evicted, and not back.
    pub is_away: bool,
    /// It does not exist now: evicted, its successor not ready.
    pub is_gone: bool,
    /// Connections that it has still to open.
    pub opening: u32,
    /// When it was last back from a recycle.
    pub recycled: Option<Millis>,
    /// How often.
    pub recycles: u32,
    cached: (usize, Millis),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PodEvent {
    Close { pod: usize },
    Open { pod: usize, connections: u32 },
    Refresh { pod: usize },
}

/// What happened over a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Recycles.
    pub recycles: usize,
    /// Most pods away at once.
    pub busy: usize,
    /// The largest share that a reader ever had of all connections.
    pub share: f64,
    /// When the last pod was back.
    pub last_back: Millis,
}

/// The world of one run.
#[derive(Debug)]
pub struct SimulatedWorld {
    /// Now.
    pub now: Millis,
    /// When the change was.
    pub began: Millis,
    /// Pods.
    pub pods: Vec<SimulatedPod>,
    /// DNS.
    pub dns: Dns,
    /// Chance.
    pub rng: Rng,
    /// What happened so far.
    pub tally: Tally,
    case: SimulationCase,
    events: BinaryHeap<Reverse<(Millis, u64, PodEvent)>>,
    count: u64,
}

impl SimulatedWorld {
    /// The world of a case at the moment of its change.
    #[must_use]
    pub fn new(case: &SimulationCase, seed: u64) -> Self {
        let rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1);
        let authority = Authority {
            before: case.before.max(1),
            after: case.after,
            late: case.late,
            half_stale: case.half_stale,
        };
        let (shared, nodes) = match case.caches {
            Caches::Shared(n) => (n, None),
            Caches::NodeLocal => (1, Some(case.nodes())),
        };
        let pods = (0..case.pods)
            .map(|i| {
                let mut held = vec![0; case.after];
                held[i % case.before.max(1)] = case.connections;
                SimulatedPod {
                    id: format!("pod-{i}"),
                    node: i % case.nodes(),
                    held,
                    is_away: false,
                    is_gone: false,
                    opening: 0,
                    recycled: None,
                    recycles: 0,
                    cached: (0, 0),
                }
            })
            .collect();
        let mut world = Self {
            now: 0,
            began: 0,
            pods,
            dns: Dns::new(authority, shared, nodes),
            rng,
            tally: Tally::default(),
            case: case.clone(),
            events: BinaryHeap::new(),
            count: 0,
        };
        if case.process == ProcessCache::Warm {
            for pod in 0..case.pods {
                let phase = world.rng.u64(..PROCESS_WINDOW);
                // The change is older than its settle time: every process has asked since.
                let answer = world.rng.usize(..case.after);
                world.pods[pod].cached = (answer, phase);
                world.at(phase, PodEvent::Refresh { pod });
            }
        }
        world.watch();
        if case.is_rolled {
            crate::blind::roll(case, &mut world);
            world.pods.retain(|p| !p.is_gone);
            world.began = world.now;
            world.tally = Tally::default();
            world.watch();
        }
        world
    }

    /// Signals a pod: its pool closes and reopens.
    pub fn signal(&mut self, pod: usize) {
        self.begin(pod);
        let close = self.now + self.rng.u64(50..=300);
        self.at(close, PodEvent::Close { pod });
        let draws = if self.case.look_up_each {
            self.case.connections
        } else {
            1
        };
        let each = self.case.connections / draws;
        for _ in 0..draws {
            let open = close + self.rng.u64(100..=self.case.reopen);
            self.at(
                open,
                PodEvent::Open {
                    pod,
                    connections: each,
                },
            );
        }
        self.pods[pod].opening = each * draws;
    }

    /// Evicts a pod: it is gone at once, and its successor opens its pool when it is ready.
    pub fn evict(&mut self, pod: usize) {
        self.begin(pod);
        self.close(pod);
        self.pods[pod].is_gone = true;
        self.start(pod);
    }

    /// Starts a pod in a free place, as a surge does.
    pub fn surge(&mut self) {
        let pod = self.pods.len();
        let mut new = self.pods[pod % self.case.pods].clone();
        new.id = format!("pod-{pod}");
        new.held = vec![0; self.case.after];
        new.is_away = true;
        new.is_gone = true;
        new.recycles = 0;
        self.pods.push(new);
        self.start(pod);
    }

    /// Takes a pod away for good.
    pub fn remove(&mut self, pod: usize) {
        self.tally.recycles += 1;
        self.close(pod);
        self.pods[pod].is_gone = true;
    }

    fn start(&mut self, pod: usize) {
        let ready = self.now + self.rng.u64(10_000..=30_000);
        let connections = self.case.connections;
        self.pods[pod].opening = connections;
        self.at(ready, PodEvent::Open { pod, connections });
    }

    fn begin(&mut self, pod: usize) {
        self.tally.recycles += 1;
        self.pods[pod].is_away = true;
        self.pods[pod].recycles += 1;
        self.tally.busy = self.tally.busy.max(self.away());
    }

    /// Pods that are not back.
    #[must_use]
    pub fn away(&self) -> usize {
        self.pods.iter().filter(|p| p.is_away).count()
    }

    /// Lets time pass until `until`; stops earlier, and returns true, when the last pod away has come back.
    pub fn run_to(&mut self, until: Millis) -> bool {
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if at > until {
                break;
            }
            self.events.pop();
            self.now = at;
            if self.happen(event) && self.away() == 0 {
                return true;
            }
        }
        self.now = until;
        false
    }

    /// Lets time pass until any pod is back; false: none is away.
    pub fn run_to_back(&mut self) -> bool {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            if self.happen(event) {
                return true;
            }
        }
        false
    }

    fn happen(&mut self, event: PodEvent) -> bool {
        match event {
            PodEvent::Close { pod } => self.close(pod),
            PodEvent::Open { pod, connections } => {
                let to = self.look_up(pod);
                let it = &mut self.pods[pod];
                if it.is_gone {
                    it.is_gone = false;
                    it.id = format!("{}+", it.id);
                    it.recycles = 0;
                }
                it.held[to] += connections;
                it.opening = it.opening.saturating_sub(connections);
                if it.opening == 0 {
                    it.is_away = false;
                    it.recycled = Some(self.now);
                    self.tally.last_back = self.now;
                    self.watch();
                    return true;
                }
            }
            PodEvent::Refresh { pod } => {
                let node = self.pods[pod].node;
                let answer = self.dns.ask(node, self.now, &mut self.rng);
                self.pods[pod].cached = (answer, self.now + PROCESS_WINDOW);
                self.at(self.now + PROCESS_WINDOW, PodEvent::Refresh { pod });
            }
        }
        false
    }

    fn look_up(&mut self, pod: usize) -> usize {
        let (answer, until) = self.pods[pod].cached;
        let has_cache = self.case.process != ProcessCache::None && !self.pods[pod].is_gone;
        if has_cache && self.now < until {
            return answer;
        }
        let node = self.pods[pod].node;
        let answer = self.dns.ask(node, self.now, &mut self.rng);
        self.pods[pod].cached = (answer, self.now + PROCESS_WINDOW);
        answer
    }

    fn close(&mut self, pod: usize) {
        self.pods[pod].held.fill(0);
    }

    fn at(&mut self, at: Millis, event: PodEvent) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    /// Connections of each reader.
    #[must_use]
    pub fn held(&self) -> Vec<u32> {
        let mut sums = vec![0; self.case.after];
        for pod in &self.pods {
            for (sum, n) in sums.iter_mut().zip(&pod.held) {
                *sum += n;
            }
        }
        sums
    }

    fn watch(&mut self) {
        let all = f64::from(u32::try_from(self.case.pods).unwrap_or(u32::MAX))
            * f64::from(self.case.connections);
        let most = f64::from(self.held().into_iter().max().unwrap_or(0));
        self.tally.share = self.tally.share.max(most / all);
    }

    /// Whether every reader is within the band: reckoned here once more, apart from the code under test.
    #[must_use]
    pub fn is_even(&self) -> bool {
        let held = self.held();
        let (n, p) = (self.case.after, self.case.pods);
        let real = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let w = f64::from(self.case.connections);
        let fair = real(p) * w / real(n);
        let hi = (1.15 * fair)
            .max(real(p.div_ceil(n)) * w)
            .max(fair + w / 2.0);
        let lo = (0.5 * fair).min(real(p / n) * w);
        let inside = held
            .iter()
            .map(|c| f64::from(*c))
            .all(|c| c <= hi + 0.001 && c >= lo - 0.001);
        inside || held.iter().all(|c| f64::from(*c) >= fair - w / 2.0)
    }
}
