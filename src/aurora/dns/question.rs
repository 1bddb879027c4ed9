//! The names of a cluster that are looked up, and how often each is.

use std::time::Duration;

use tokio::time::Instant;

use super::lookup::IpFamily;
use dbbalance_api::spec::Endpoint;
use dbbalance_core::topology::InstanceId;

/// The interval within a batch of looks, while an epoch or a rebalance waits for DNS: eight samples a second of each
/// endpoint (docs/adr/0008).
pub(super) const BOOSTED_INTERVAL: Duration = Duration::from_millis(125);
/// The interval otherwise: `CoreDNS` caches an answer for at least 5 s, so more samples would show nothing.
const ENDPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// The interval of an instance's endpoint, whose address changes only with its host.
const INSTANCE_INTERVAL: Duration = Duration::from_secs(30);
/// The interval of IPv6 addresses.
const IPV6_INTERVAL: Duration = Duration::from_mins(1);
/// The interval of IPv6 addresses that are not there, as in most clusters: only a change of the network type adds them.
const NO_IPV6_INTERVAL: Duration = Duration::from_mins(30);
/// The interval of a steered name while it is narrowed: twelve looks that agree, of each name server, take about a second.
/// They go with the routine look-ups, after all that a failover waits for: a name whose looks come late is widened, which
/// harms nobody. Each look is over a new socket, so that with several caches behind one address each is asked (docs/adr/0020).
const STEERED_INTERVAL: Duration = Duration::from_millis(100);
/// The longest interval: a longer TTL may be a mistake.
const MAX_INTERVAL: Duration = Duration::from_mins(1);

/// A name to sample up. Instances come first, because their addresses identify the other answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DnsQuestion {
    /// An instance's endpoint.
    Instance(InstanceId, IpFamily),
    /// The cluster endpoint.
    Writer,
    /// The reader endpoint.
    Reader,
    /// A name that is narrowed now, asked of one name server.
    Steered {
        name: String,
        /// The index of the server among those of the resolver.
        server: usize,
    },
}

impl DnsQuestion {
    pub(super) const fn of_endpoint(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Writer => Self::Writer,
            Endpoint::Reader => Self::Reader,
        }
    }

    pub(super) const fn family(&self) -> IpFamily {
        match self {
            Self::Writer | Self::Reader | Self::Steered { .. } => IpFamily::V4,
            Self::Instance(_, family) => *family,
        }
    }
}

/// When a name was looked up, and how many answers are pending.
#[derive(Clone, Debug, Default)]
pub(super) struct QuestionState {
    pub(super) asked: Option<Instant>,
    pub(super) ttl: Duration,
    /// The last answer was that the name has no address of this family.
    pub(super) has_no_address: bool,
    /// Lookups without an answer yet.
    pub(super) open: usize,
    /// A routine lookup waits for the rate limit.
    pub(super) queued: bool,
}

/// Returns the interval of a name outside of batches. It is at least the answer's TTL: a cache would repeat the answer.
pub(super) fn question_interval(
    question: &DnsQuestion,
    state: &QuestionState,
    wanted: bool,
) -> Duration {
    let ttl = state.ttl;
    match (question, wanted) {
        (DnsQuestion::Steered { .. }, _) => STEERED_INTERVAL,
        (DnsQuestion::Writer | DnsQuestion::Reader, _)
        | (DnsQuestion::Instance(_, IpFamily::V4), true) => {
            ttl.clamp(ENDPOINT_INTERVAL, MAX_INTERVAL)
        }
        (DnsQuestion::Instance(_, IpFamily::V4), false) => {
            ttl.clamp(INSTANCE_INTERVAL, MAX_INTERVAL)
        }
        (DnsQuestion::Instance(_, IpFamily::V6), _) if state.has_no_address => NO_IPV6_INTERVAL,
        (DnsQuestion::Instance(_, IpFamily::V6), _) => IPV6_INTERVAL,
    }
}
