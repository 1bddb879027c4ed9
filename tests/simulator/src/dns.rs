//! The reader endpoint as pods see it: an authority that draws, caches that keep.

use fastrand::Rng;

/// Milliseconds since the run began.
pub type Millis = u64;

/// How long a cache keeps an answer: the `CoreDNS` cache plugin keeps every answer for at least 5 s.
pub const WINDOW: Millis = 5_000;

/// What the authority answers.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Readers before the change.
    pub before: usize,
    /// Readers after it.
    pub after: usize,
    /// The new readers are not answered before this.
    pub late: Millis,
    /// Half of the answers come from a server that still has the old list.
    pub half_stale: bool,
}

impl Authority {
    fn draw(&self, now: Millis, rng: &mut Rng) -> usize {
        let is_old = now < self.late || (self.half_stale && rng.bool());
        let readers = if is_old {
            self.before.min(self.after)
        } else {
            self.after
        };
        rng.usize(..readers.max(1))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Cache {
    answer: usize,
    is_led: bool,
    until: Millis,
}

/// The caches in front of the authority.
#[derive(Clone, Debug)]
pub struct Dns {
    authority: Authority,
    caches: Vec<Cache>,
    is_local: bool,
    /// The reader that the name leads to alone, and whether the caches keep it.
    led: Option<(usize, bool)>,
}

impl Dns {
    /// `nodes`: one cache a node; otherwise `shared` caches for all.
    #[must_use]
    pub fn new(authority: Authority, shared: usize, nodes: Option<usize>) -> Self {
        let count = nodes.unwrap_or(shared).max(1);
        Self {
            authority,
            caches: vec![Cache::default(); count],
            is_local: nodes.is_some(),
            led: None,
        }
    }

    /// Leads the name to one reader, or to the authority's answer again. `is_cached`: caches keep both.
    pub fn lead(&mut self, reader: Option<usize>, is_cached: bool) {
        self.led = reader.map(|reader| (reader, is_cached));
    }

    /// One look-up from a node: the reader that is answered.
    pub fn ask(&mut self, node: usize, now: Millis, rng: &mut Rng) -> usize {
        self.ask_whence(node, now, rng).0
    }

    /// The same, and whether the name was led there.
    pub fn ask_whence(&mut self, node: usize, now: Millis, rng: &mut Rng) -> (usize, bool) {
        if let Some((reader, false)) = self.led {
            return (reader, true);
        }
        let at = if self.is_local {
            node % self.caches.len()
        } else {
            rng.usize(..self.caches.len())
        };
        let cache = &mut self.caches[at];
        if now >= cache.until {
            *cache = Cache {
                answer: self
                    .led
                    .map_or_else(|| self.authority.draw(now, rng), |(reader, _)| reader),
                is_led: self.led.is_some(),
                until: now + WINDOW,
            };
        }
        (cache.answer, cache.is_led)
    }
}
