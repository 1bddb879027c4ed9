//! The text of `/proc/net/tcp` and `/proc/net/tcp6`, as Linux prints it, to sockets.
//!
//! Pure. It takes a table whole or not at all: half a table would be too few connections.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dbbalance_core::evidence::{Socket, SocketState};

/// What is read of one pod at most. A line has 150 bytes (IPv4) or 180 (IPv6), so that is above 20,000
/// sockets of all kinds, far more than a pool has.
pub const LIMIT: usize = 4 * 1024 * 1024;

/// States in `include/net/tcp_states.h`.
const ESTABLISHED: u8 = 0x01;
const CLOSE_WAIT: u8 = 0x08;
/// No state is as great as this one (`TCP_MAX_STATES`).
const MAX_STATES: u8 = 0x0e;

/// The users as which the proxies of service meshes run: 1337 is Istio's (`ProxyUID` in its injection template), 2102
/// linkerd's (`proxyUID` in its chart). Meshes redirect by them, so that no app may use them.
const PROXY_UIDS: [u64; 2] = [1337, 2102];

/// The most sockets to the port that are kept of one pod. The largest Aurora instances take 5,000 connections of all
/// clients together, so that a pod with more lists what it does not have.
pub const MAX_SOCKETS: usize = 5000;

/// A reason why a text is not a table, or none that is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The first line is not a table's head.
    #[error("it does not start with the header of /proc/net/tcp")]
    NoHead,
    /// A line is not a socket. Its text is not reported.
    #[error("line {line} is not a socket")]
    Line {
        /// Which, from 1.
        line: usize,
    },
    /// It lists more sockets to the port than are kept.
    #[error("it lists more than {MAX_SOCKETS} sockets to the port")]
    TooMany,
    /// The last line does not end.
    #[error("it ends in the middle of a line")]
    CutOff,
}

/// What the tables hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketTables {
    /// Sockets to the port that was asked for.
    pub sockets: Vec<Socket>,
    /// How many tables there were: 2 with `tcp6`.
    pub tables: usize,
}

/// Reads one table, or several after one another, and keeps the sockets to that remote port.
///
/// A mesh that redirects connections to a proxy in the pod shows each one twice, and the proxy may have resolved the name
/// to another member. The app's socket never leaves the pod: its other end is a socket of the proxy in the same table. Such
/// sockets are left out, and the proxy's own count.
///
/// The tables' numbers are in the node's byte order, which is little-endian on all that EKS runs on.
///
/// # Errors
/// When the text is anything else than whole tables.
pub fn parse_tables(text: &str, port: u16) -> Result<SocketTables, TableError> {
    let mut found = SocketTables::default();
    let mut places = HashMap::new();
    let mut redirected = HashSet::new();
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(TableError::CutOff);
    }
    for (index, line) in text.lines().enumerate() {
        if is_head(line) {
            found.tables += 1;
            continue;
        }
        if found.tables == 0 {
            return Err(TableError::NoHead);
        }
        let row = parse_row(line).ok_or(TableError::Line { line: index + 1 })?;
        if PROXY_UIDS.contains(&row.uid) {
            redirected.insert(row.remote);
        }
        if let Some(socket) = row.socket
            && socket.remote.port() == port
        {
            // The kernel writes a table page by page: what changed meanwhile can be in it twice.
            match places.entry((socket.local, socket.remote)) {
                Entry::Occupied(place) => found.sockets[*place.get()] = socket,
                Entry::Vacant(place) => {
                    if found.sockets.len() == MAX_SOCKETS {
                        return Err(TableError::TooMany);
                    }
                    place.insert(found.sockets.len());
                    found.sockets.push(socket);
                }
            }
        }
    }
    if found.tables == 0 {
        return Err(TableError::NoHead);
    }
    found.sockets.retain(|s| !redirected.contains(&s.local));
    Ok(found)
}

/// `sl  local_address rem_address …`, or `remote_address` in the table of IPv6.
fn is_head(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("sl") && words.next() == Some("local_address")
}

/// One line of a table.
struct TableRow {
    remote: SocketAddr,
    uid: u64,
    /// `None` in a state that is none of a pool's.
    socket: Option<Socket>,
}

fn parse_row(line: &str) -> Option<TableRow> {
    let mut words = line.split_ascii_whitespace();
    let slot = words.next()?.strip_suffix(':')?;
    let _: u64 = slot.parse().ok()?;
    let local = parse_endpoint(words.next()?)?;
    let remote = parse_endpoint(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let (tx, rx) = words.next()?.split_once(':')?;
    let _ = parse_hex(rx)?;
    let (timer, when) = words.next()?.split_once(':')?;
    let _ = (parse_hex(timer)?, u64::from_str_radix(when, 16).ok()?);
    let retransmits = parse_hex(words.next()?)?;
    let uid: u64 = words.next()?.parse().ok()?;
    // `icsk_probes_out`, under the head `timeout`.
    let probes: i64 = words.next()?.parse().ok()?;
    let _inode: u64 = words.next()?.parse().ok()?;
    let state = match state {
        ESTABLISHED => Some(SocketState::Established),
        CLOSE_WAIT => Some(SocketState::ClosedByServer),
        0 | MAX_STATES.. => return None,
        _ => None,
    };
    let unacknowledged = parse_hex(tx)?;
    let socket = state.map(|state| Socket {
        local,
        remote,
        state,
        unacknowledged,
        retransmits,
        unanswered_probes: u32::try_from(probes.max(0)).unwrap_or(u32::MAX),
        opened_after: None,
    });
    Some(TableRow {
        remote,
        uid,
        socket,
    })
}

fn parse_hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

/// `0100007F:1538` is 127.0.0.1:5432. Each group of eight digits is a word of the address in memory.
fn parse_endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    if port.len() != 4 || !address.is_ascii() {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(parse_word(address)?)),
        32 => {
            let mut bytes = [0; 16];
            for (place, digits) in bytes.chunks_exact_mut(4).zip(address.as_bytes().chunks(8)) {
                place.copy_from_slice(&parse_word(std::str::from_utf8(digits).ok()?)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

fn parse_word(digits: &str) -> Option<[u8; 4]> {
    Some(u32::from_str_radix(digits, 16).ok()?.to_le_bytes())
}

#[cfg(test)]
mod tests;
