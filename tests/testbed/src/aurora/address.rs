//! Addresses and ports of the parts of the testbed's Aurora, inside the testbed's network namespace.
//!
//! 198.18.0.2 to 198.18.0.254 are free for servers (`kubernetes::layout`). Each part has an address of its own, as
//! clients tell parts apart by address; whoever starts a part adds its address to the testbed's bridge.

use std::net::Ipv4Addr;

use crate::kubernetes::layout::DNS_SERVICE_IP;

/// The testbed's own RDS API.
pub const RDS_API: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Its port: moto's, so that a client changes only the address.
pub const RDS_API_PORT: u16 = 5000;
/// The program's own control interface (plain HTTP, JSON), on [`RDS_API`].
pub const CONTROL_PORT: u16 = 5001;
/// The authoritative name server, port 53.
pub const AUTHORITY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
/// The first `CoreDNS`; the others follow, up to [`MAX_CACHES`].
pub const FIRST_CACHE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 8);
/// The most `CoreDNS` programs (replicas, or one a pretended node).
pub const MAX_CACHES: u8 = 8;
/// The name server that pods and the operator use: a Service's address, spread over the `CoreDNS` programs as
/// kube-proxy would do it. In the testbed's service range.
pub const CLUSTER_DNS: Ipv4Addr = DNS_SERVICE_IP;
/// The first database; the others follow.
pub const FIRST_INSTANCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 32);
/// The last database.
pub const LAST_INSTANCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 191);
/// The databases' port.
pub const PORT: u16 = 5432;
/// The zone that the authoritative server answers for; all endpoints end with it.
pub const ZONE: &str = "eu-west-1.rds.amazonaws.com";
/// The account's part of the endpoints' names.
pub const HASH: &str = "c0lab0dbb0x";
