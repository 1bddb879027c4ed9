//! The records of an answer, with their times to live.

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::rdata::{A, CNAME, NS, SOA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use super::answer::{self, Answer};
use crate::aurora::address::{AUTHORITY, ZONE};

/// Of a cluster's and reader's CNAME: 1 s (Aurora user guide, "Fast failover with Amazon Aurora PostgreSQL").
const ALIAS_TTL: u32 = 1;
/// Of an instance's A record: 5 s (Aurora user guide, "Amazon Aurora connection management"; seen in answers).
const INSTANCE_TTL: u32 = 5;
/// How long "no such name" and "no such record" hold, and the zone's own records. No figure is published for
/// RDS's zones. 5 s is what `CoreDNS` makes of anything shorter: so a cache keeps a no as long as a yes, and the
/// testbed shows no effect that comes from this number.
const NEGATIVE_TTL: u32 = 5;

/// What goes into a message.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) soa: Vec<Record>,
    pub(super) additionals: Vec<Record>,
}

impl Sections {
    /// Nothing but a code.
    pub(super) fn failed(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            soa: Vec::new(),
            additionals: Vec::new(),
        }
    }

    fn good(answers: Vec<Record>) -> Self {
        Self {
            authoritative: true,
            answers,
            ..Self::failed(ResponseCode::NoError)
        }
    }
}

/// A name of the zone; labels that no name can have give the root, which answers nothing.
fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap_or_default()
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

fn soa() -> Record {
    let data = SOA::new(
        name(&answer::name_server()),
        name(&format!("hostmaster.{ZONE}")),
        1,
        7200,
        900,
        1_209_600,
        NEGATIVE_TTL,
    );
    record(ZONE, NEGATIVE_TTL, RData::SOA(data))
}

fn server_address() -> Record {
    record(&answer::name_server(), NEGATIVE_TTL, RData::A(A(AUTHORITY)))
}

/// The records for a question. There is no IPv6 in the zone: a AAAA query gets the CNAME and "no data".
pub(super) fn sections(owner: &str, kind: RecordType, answer: &Answer) -> Sections {
    let wanted = |own: RecordType| kind == own || kind == RecordType::ANY;
    let answers = match answer {
        Answer::Refused => return Sections::failed(ResponseCode::Refused),
        Answer::Unknown => {
            return Sections {
                code: ResponseCode::NXDomain,
                soa: vec![soa()],
                ..Sections::good(Vec::new())
            };
        }
        Answer::Apex => {
            let mut answers = Vec::new();
            if wanted(RecordType::SOA) {
                answers.push(soa());
            }
            if wanted(RecordType::NS) {
                let data = RData::NS(NS(name(&answer::name_server())));
                answers.push(record(ZONE, NEGATIVE_TTL, data));
                return Sections {
                    additionals: vec![server_address()],
                    ..Sections::good(answers)
                };
            }
            answers
        }
        Answer::NameServer if wanted(RecordType::A) => vec![server_address()],
        Answer::Instance { address, .. } if wanted(RecordType::A) => {
            vec![record(owner, INSTANCE_TTL, RData::A(A(*address)))]
        }
        Answer::Nothing | Answer::NameServer | Answer::Instance { .. } => Vec::new(),
        Answer::Alias { instance, address } => {
            let target = answer::target(instance);
            let alias = record(owner, ALIAS_TTL, RData::CNAME(CNAME(name(&target))));
            if kind == RecordType::CNAME {
                return Sections::good(vec![alias]);
            }
            return match address {
                Some(address) if wanted(RecordType::A) => Sections::good(vec![
                    alias,
                    record(&target, INSTANCE_TTL, RData::A(A(*address))),
                ]),
                // The code is that of the last name of the chain (RFC 6604).
                _ => Sections {
                    code: if address.is_some() {
                        ResponseCode::NoError
                    } else {
                        ResponseCode::NXDomain
                    },
                    soa: vec![soa()],
                    ..Sections::good(vec![alias])
                },
            };
        }
    };
    let empty = answers.is_empty();
    Sections {
        soa: if empty { vec![soa()] } else { Vec::new() },
        ..Sections::good(answers)
    }
}
