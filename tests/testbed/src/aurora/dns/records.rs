//! Builds the records of an answer, with their TTLs.

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::rdata::{A, CNAME, NS, SOA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use super::answer::{self, DnsAnswer};
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
pub(super) struct ResponseSections {
    pub(super) code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) soa: Vec<Record>,
    pub(super) additionals: Vec<Record>,
}

impl ResponseSections {
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
fn parse_name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap_or_default()
}

fn make_record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(parse_name(owner), ttl, data)
}

fn soa_record() -> Record {
    let data = SOA::new(
        parse_name(&answer::name_server_name()),
        parse_name(&format!("hostmaster.{ZONE}")),
        1,
        7200,
        900,
        1_209_600,
        NEGATIVE_TTL,
    );
    make_record(ZONE, NEGATIVE_TTL, RData::SOA(data))
}

fn server_address() -> Record {
    make_record(
        &answer::name_server_name(),
        NEGATIVE_TTL,
        RData::A(A(AUTHORITY)),
    )
}

/// The records for a question. There is no IPv6 in the zone: a AAAA query gets the CNAME and "no data".
pub(super) fn response_sections(
    owner: &str,
    kind: RecordType,
    answer: &DnsAnswer,
) -> ResponseSections {
    let wanted = |own: RecordType| kind == own || kind == RecordType::ANY;
    let answers = match answer {
        DnsAnswer::Refused => return ResponseSections::failed(ResponseCode::Refused),
        DnsAnswer::Unknown => {
            return ResponseSections {
                code: ResponseCode::NXDomain,
                soa: vec![soa_record()],
                ..ResponseSections::good(Vec::new())
            };
        }
        DnsAnswer::Apex => {
            let mut answers = Vec::new();
            if wanted(RecordType::SOA) {
                answers.push(soa_record());
            }
            if wanted(RecordType::NS) {
                let data = RData::NS(NS(parse_name(&answer::name_server_name())));
                answers.push(make_record(ZONE, NEGATIVE_TTL, data));
                return ResponseSections {
                    additionals: vec![server_address()],
                    ..ResponseSections::good(answers)
                };
            }
            answers
        }
        DnsAnswer::NameServer if wanted(RecordType::A) => vec![server_address()],
        DnsAnswer::Instance { address, .. } if wanted(RecordType::A) => {
            vec![make_record(owner, INSTANCE_TTL, RData::A(A(*address)))]
        }
        DnsAnswer::Nothing | DnsAnswer::NameServer | DnsAnswer::Instance { .. } => Vec::new(),
        DnsAnswer::Alias { instance, address } => {
            let target = answer::instance_target(instance);
            let alias = make_record(owner, ALIAS_TTL, RData::CNAME(CNAME(parse_name(&target))));
            if kind == RecordType::CNAME {
                return ResponseSections::good(vec![alias]);
            }
            return match address {
                Some(address) if wanted(RecordType::A) => ResponseSections::good(vec![
                    alias,
                    make_record(&target, INSTANCE_TTL, RData::A(A(*address))),
                ]),
                // The code is that of the last name of the chain (RFC 6604).
                _ => ResponseSections {
                    code: if address.is_some() {
                        ResponseCode::NoError
                    } else {
                        ResponseCode::NXDomain
                    },
                    soa: vec![soa_record()],
                    ..ResponseSections::good(vec![alias])
                },
            };
        }
    };
    let empty = answers.is_empty();
    ResponseSections {
        soa: if empty {
            vec![soa_record()]
        } else {
            Vec::new()
        },
        ..ResponseSections::good(answers)
    }
}
