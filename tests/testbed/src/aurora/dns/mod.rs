//! The authoritative name server of the testbed's Aurora, over UDP and TCP.
//!
//! As Aurora's: the two endpoints of a cluster are CNAMEs to an instance's endpoint, the reader endpoint to a random
//! serving reader per answer, and instances have one A record. It answers from [`ControlPlane::dns_zone`] at the time
//! of the query: delays and flicker are in the zone.

mod answer;
mod records;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{
    Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode,
};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use super::inventory::ControlPlane;
use super::service::ServerThread;
use answer::DnsAnswer;
use records::ResponseSections;

/// Idle TCP connections are closed after it; resolvers open a new one for each question.
const TCP_IDLE: Duration = Duration::from_secs(5);
/// Answers that wait for a slow TCP reader.
const TCP_ANSWERS: usize = 16;

/// What fits into a UDP packet anywhere (DNS flag day 2020); no answer here comes near it.
const MAX_PAYLOAD: u16 = 1232;

/// How the server is to be.
#[derive(Clone, Debug, Default)]
pub struct DnsOptions {
    /// Seed of the choice among readers: the same one gives the same choices. None: another each time.
    pub seed: Option<u64>,
}

/// What was asked for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct NameQueries {
    /// Queries of any type.
    pub queries: u64,
    /// Answers with an address, by the instance that the name led to.
    pub answered: BTreeMap<String, u64>,
}

/// A running name server, ended with the value.
#[derive(Debug)]
pub struct DnsServer {
    service: ServerThread,
    shared: Arc<DnsShared>,
}

impl DnsServer {
    /// Where it listens, by UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.service.address()
    }

    /// What was asked since the start, by name (lower case, without the last dot).
    #[must_use]
    pub fn log(&self) -> BTreeMap<String, NameQueries> {
        self.shared.state().log.clone()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.shared.state().log.clear();
    }
}

struct DnsShared {
    plane: Arc<dyn ControlPlane>,
    state: Mutex<DnsState>,
}

struct DnsState {
    random: fastrand::Rng,
    log: BTreeMap<String, NameQueries>,
}

impl std::fmt::Debug for DnsShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl DnsShared {
    fn state(&self) -> MutexGuard<'_, DnsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the name server at an address (port 0: any one that is free for UDP and TCP), on threads of its own in
/// the caller's network.
pub fn start_dns(
    address: SocketAddr,
    plane: Arc<dyn ControlPlane>,
    options: &DnsOptions,
) -> Result<DnsServer> {
    let random = options
        .seed
        .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
    let shared = Arc::new(DnsShared {
        plane,
        state: Mutex::new(DnsState {
            random,
            log: BTreeMap::new(),
        }),
    });
    let handler = DnsHandler(Arc::clone(&shared));
    let service = ServerThread::start("name server", move |stopped| {
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address}, TCP"))?;
        let address = listener.local_addr()?;
        let socket = std::net::UdpSocket::bind(address)
            .with_context(|| format!("cannot listen on {address}, UDP"))?;
        listener.set_nonblocking(true)?;
        socket.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let mut server = hickory_server::Server::new(handler);
        server.register_socket(socket);
        server.register_listener(listener, TCP_IDLE, TCP_ANSWERS);
        Ok((address, async move {
            // It ends with the runtime, connections and all.
            let _ = stopped.await;
            drop(server);
        }))
    })?;
    Ok(DnsServer { service, shared })
}

struct DnsHandler(Arc<DnsShared>);

impl DnsHandler {
    /// The sections of the answer to a request, noted in the log.
    fn sections(&self, request: &Request) -> ResponseSections {
        let Ok(info) = request.request_info() else {
            return ResponseSections::failed(ResponseCode::FormErr);
        };
        if info.metadata.op_code != OpCode::Query {
            return ResponseSections::failed(ResponseCode::NotImp);
        }
        let kind = info.query.query_type();
        let name = info.query.name().to_string();
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let zone = self.0.plane.dns_zone();
        let mut state = self.0.state();
        let random = &mut state.random;
        let answer = answer::answer_name(&zone, &name, |readers| random.usize(..readers));
        // Strangers' names would fill the memory.
        if answer != DnsAnswer::Refused {
            let log = state.log.entry(name.clone()).or_default();
            log.queries += 1;
            if kind == hickory_server::proto::rr::RecordType::A
                && let DnsAnswer::Alias { instance, .. } | DnsAnswer::Instance { instance, .. } =
                    &answer
            {
                *log.answered.entry(instance.clone()).or_default() += 1;
            }
        }
        drop(state);
        records::response_sections(&name, kind, &answer)
    }
}

#[async_trait::async_trait]
impl RequestHandler for DnsHandler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let sections = self.sections(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = sections.code;
        metadata.authoritative = sections.authoritative;
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_PAYLOAD);
        // Only to who speaks it (RFC 6891).
        let edns = request.edns.as_ref().map(|_| &edns);
        let message = MessageResponseBuilder::new(&request.queries, edns).build(
            metadata,
            &sections.answers,
            &sections.authorities,
            &sections.soa,
            &sections.additionals,
        );
        match response.send_response(message).await {
            Ok(info) => info,
            // The asker has gone.
            Err(_) => ResponseInfo::from(Header {
                metadata: Metadata::new(request.metadata.id, MessageType::Response, OpCode::Query),
                counts: HeaderCounts::default(),
            }),
        }
    }
}
