//! One DNS lookup: what is asked, what comes back, and how it is counted.

use std::net::IpAddr;

use async_trait::async_trait;
use strum::VariantArray as _;

use crate::aurora::stats::NoStats;

/// The address family of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpFamily {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// The answer of a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupAnswer {
    /// The addresses, at least one, in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// The names that the queried one is an alias of, first to last, as answered.
    pub aliases: Vec<String>,
    /// The shortest TTL of the answer's records, in seconds.
    pub ttl: u32,
}

/// Describes why there is no address.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum LookupError {
    /// The name does not exist.
    NoSuchName,
    /// The name exists, but has no address of this family.
    NoAddress,
    /// The resolver failed or refused.
    Refused,
    /// There was no answer within the timeout.
    Unanswered,
}

impl LookupError {
    /// Returns the text for conditions and messages.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NoSuchName => "NXDOMAIN: the name does not exist",
            Self::NoAddress => "the name has no address",
            Self::Refused => "the resolver failed or refused",
            Self::Unanswered => "the resolver did not answer within the timeout",
        }
    }
}

/// The result of a lookup, as the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LookupResult {
    /// With an address.
    Ok,
    /// Without.
    Failed(LookupError),
}

impl LookupResult {
    /// Returns all results.
    pub fn all() -> impl Iterator<Item = Self> {
        let failed = LookupError::VARIANTS.iter().copied().map(Self::Failed);
        std::iter::once(Self::Ok).chain(failed)
    }

    /// Returns the result of an answer.
    #[must_use]
    pub const fn of(answer: &Result<LookupAnswer, LookupError>) -> Self {
        match answer {
            Ok(_) => Self::Ok,
            Err(error) => Self::Failed(*error),
        }
    }

    /// Returns the value of the label `result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "Ok",
            Self::Failed(error) => error.into(),
        }
    }
}

/// Resolves names: by the resolver that pods use, or a fake in tests.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// Resolves a fully qualified name once, without a cache and without search domains.
    ///
    /// # Errors
    /// When there is no address.
    async fn resolve(&self, name: &str, family: IpFamily) -> Result<LookupAnswer, LookupError>;

    /// Returns how many name servers there are. Pods ask the first one, and the others only if it fails.
    fn count_servers(&self) -> usize {
        1
    }

    /// Resolves a name as [`resolve`](Self::resolve) does, by one of the name servers alone.
    ///
    /// # Errors
    /// When there is no address, or no such server.
    async fn resolve_at(&self, server: usize, name: &str) -> Result<LookupAnswer, LookupError> {
        let _ = server;
        self.resolve(name, IpFamily::V4).await
    }
}

/// Counts lookups. It must not block.
pub trait LookupStats: Send + Sync {
    /// Counts a finished lookup.
    fn count_lookup(&self, result: LookupResult);
}

impl LookupStats for NoStats {
    fn count_lookup(&self, _: LookupResult) {}
}
