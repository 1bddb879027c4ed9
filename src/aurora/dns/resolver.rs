//! Looks up names by the resolver that pods use, with hickory-resolver.
//!
//! It does not cache, and uses a new socket for each lookup, so an answer is what a pod would get now. Of several caches
//! behind one Service address, each is reached in turn.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use thiserror::Error;

use super::lookup::{IpFamily, LookupAnswer, LookupError, Resolve};

/// How long an answer may take. A pod's own resolver gives up after 5 s (resolv.conf's default); by then forty lookups
/// would wait, and so late an answer is of no use to a pool.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Describes why the resolver cannot be built.
#[derive(Debug, Error)]
pub enum ResolverError {
    /// `/etc/resolv.conf` cannot be used.
    #[error("cannot read the resolver from /etc/resolv.conf: set --dns-servers")]
    System(#[source] NetError),
    /// The library rejects the configuration.
    #[error("cannot build the DNS resolver")]
    Build(#[source] NetError),
}

/// The system's resolver, or configured servers.
#[derive(Clone, Debug)]
pub struct Resolver {
    all: TokioResolver,
    /// A resolver for each server alone.
    each: Vec<TokioResolver>,
}

impl Resolver {
    /// Returns a resolver that asks these servers in order; without any, those of this pod's `/etc/resolv.conf`.
    ///
    /// # Errors
    /// When there are no servers and the file cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, ResolverError> {
        let name_servers = if servers.is_empty() {
            let (system, _) =
                hickory_resolver::system_conf::read_system_conf().map_err(ResolverError::System)?;
            system.name_servers
        } else {
            servers.iter().map(|s| name_server(*s)).collect()
        };
        let each = name_servers.iter().map(|s| build_resolver(vec![s.clone()]));
        Ok(Self {
            each: each.collect::<Result<_, _>>()?,
            all: build_resolver(name_servers)?,
        })
    }
}

fn build_resolver(name_servers: Vec<NameServerConfig>) -> Result<TokioResolver, ResolverError> {
    let config = ResolverConfig::from_parts(None, vec![], name_servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = resolver_options();
    builder.build().map_err(ResolverError::Build)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut udp = ConnectionConfig::udp();
    let mut tcp = ConnectionConfig::tcp();
    udp.port = address.port();
    tcp.port = address.port();
    NameServerConfig::new(address.ip(), true, vec![udp, tcp])
}

fn resolver_options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = ANSWER_TIMEOUT;
    // A failed lookup is recorded as such; the next one follows soon.
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // As a pod's libc does: the first server, another one only if it fails.
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.preserve_intermediates = true;
    options
}

#[async_trait]
impl Resolve for Resolver {
    async fn resolve(&self, name: &str, family: IpFamily) -> Result<LookupAnswer, LookupError> {
        look_up(&self.all, name, family).await
    }

    fn count_servers(&self) -> usize {
        self.each.len()
    }

    async fn resolve_at(&self, server: usize, name: &str) -> Result<LookupAnswer, LookupError> {
        let resolver = self.each.get(server).ok_or(LookupError::Unanswered)?;
        look_up(resolver, name, IpFamily::V4).await
    }
}

async fn look_up(
    resolver: &TokioResolver,
    name: &str,
    family: IpFamily,
) -> Result<LookupAnswer, LookupError> {
    // Only fully qualified names: with search domains each miss would be several lookups.
    let mut name = Name::from_utf8(name).map_err(|_| LookupError::NoSuchName)?;
    name.set_fqdn(true);
    let kind = match family {
        IpFamily::V4 => RecordType::A,
        IpFamily::V6 => RecordType::AAAA,
    };
    let found = tokio::time::timeout(ANSWER_TIMEOUT, resolver.lookup(name, kind))
        .await
        .map_err(|_| LookupError::Unanswered)?
        .map_err(|e| lookup_error(&e))?;
    let mut answer = LookupAnswer {
        ttl: u32::MAX,
        ..LookupAnswer::default()
    };
    for record in found.answers() {
        answer.ttl = answer.ttl.min(record.ttl);
        match &record.data {
            RData::A(a) => answer.addresses.push(a.0.into()),
            RData::AAAA(a) => answer.addresses.push(a.0.into()),
            RData::CNAME(target) => answer.aliases.push(target.to_string()),
            _ => {}
        }
    }
    if answer.addresses.is_empty() {
        return Err(LookupError::NoAddress);
    }
    Ok(answer)
}

fn lookup_error(error: &NetError) -> LookupError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            if none.response_code == ResponseCode::NXDomain {
                LookupError::NoSuchName
            } else {
                LookupError::NoAddress
            }
        }
        NetError::Dns(_) => LookupError::Refused,
        // Timeouts, refused connections, no route.
        _ => LookupError::Unanswered,
    }
}
