#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};

use proptest::prelude::*;

use super::*;

const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const HEAD6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

fn words(address: IpAddr, as_v6: bool) -> String {
    let bytes: Vec<u8> = match (address, as_v6) {
        (IpAddr::V4(v4), false) => v4.octets().to_vec(),
        (IpAddr::V4(v4), true) => v4.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(v6), _) => v6.octets().to_vec(),
    };
    bytes.chunks(4).fold(String::new(), |mut text, word| {
        write!(text, "{:08X}", u32::from_le_bytes(word.try_into().unwrap())).unwrap();
        text
    })
}

/// As `get_tcp4_sock` and `get_tcp6_sock` print it.
fn line(n: usize, socket: &Socket, as_v6: bool) -> String {
    let state = match socket.state {
        SocketState::Established => ESTABLISHED,
        SocketState::ClosedByServer => CLOSE_WAIT,
    };
    let end = |s: SocketAddr| format!("{}:{:04X}", words(s.ip(), as_v6), s.port());
    format!(
        "{n:4}: {} {} {state:02X} {:08X}:00000000 {:02X}:{:08X} {:08X} {:5} {:8} {} 1 0000000078e220ee 20 4 30 10 -1",
        end(socket.local),
        end(socket.remote),
        socket.unacknowledged,
        u8::from(socket.retransmits > 0),
        31,
        socket.retransmits,
        1000,
        socket.unanswered_probes,
        112_603
    )
}

fn render(sockets: &[(Socket, bool)]) -> String {
    let mut text = format!("{HEAD}\n");
    for (n, (socket, _)) in sockets.iter().filter(|(_, v6)| !v6).enumerate() {
        writeln!(text, "{}", line(n, socket, false)).unwrap();
    }
    writeln!(text, "{HEAD6}").unwrap();
    for (n, (socket, _)) in sockets.iter().filter(|(_, v6)| *v6).enumerate() {
        writeln!(text, "{}", line(n, socket, true)).unwrap();
    }
    text
}

fn address() -> impl Strategy<Value = (IpAddr, bool)> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|v4| (IpAddr::from(v4), false)),
        any::<[u8; 4]>().prop_map(|v4| (IpAddr::from(v4), true)),
        any::<[u8; 16]>().prop_map(|v6| (Ipv6Addr::from(v6).to_canonical(), true)),
    ]
}

fn sockets() -> impl Strategy<Value = Vec<(Socket, bool)>> {
    let one = (
        address(),
        address(),
        any::<u16>(),
        any::<bool>(),
        any::<u32>(),
        any::<u32>(),
        0..=i32::MAX,
    );
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let mut unique = BTreeMap::new();
        for ((local, v6), (remote, other), port, open, unacknowledged, retransmits, probes) in all {
            let socket = Socket {
                local: SocketAddr::new(local, port),
                remote: SocketAddr::new(remote, 5432),
                state: if open {
                    SocketState::Established
                } else {
                    SocketState::ClosedByServer
                },
                unacknowledged,
                retransmits,
                unanswered_probes: u32::try_from(probes).unwrap(),
                opened_after: None,
            };
            unique.insert((socket.local, socket.remote), (socket, v6 || other));
        }
        unique.into_values().collect()
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(sockets in sockets()) {
        let found = parse_tables(&render(&sockets), 5432).unwrap();
        prop_assert_eq!(found.tables, 2);
        let mut found = found.sockets;
        found.sort();
        let mut wanted: Vec<Socket> = sockets.into_iter().map(|(s, _)| s).collect();
        wanted.sort();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn a_table_that_is_cut_anywhere_in_a_line_is_refused(sockets in sockets(), at in any::<prop::sample::Index>()) {
        let text = render(&sockets);
        let cut = &text[..at.index(text.len())];
        if cut.is_empty() {
            prop_assert_eq!(parse_tables(cut, 5432), Err(TableError::NoHead));
        } else if cut.ends_with('\n') {
            prop_assert!(parse_tables(cut, 5432).is_ok());
        } else {
            prop_assert_eq!(parse_tables(cut, 5432), Err(TableError::CutOff));
        }
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(text in any::<String>(), line in "[ -~]{0,200}", glyphs in "\\PC{0,40}") {
        prop_assert!(parse_tables(&text, 5432).is_err());
        let _ = parse_tables(&format!("{HEAD}\n{line}\n"), 5432);
        let _ = parse_tables(&format!("{HEAD}\n  0: {glyphs}:{glyphs} {glyphs} 01 0:0 0:0 0 0 0 1\n"), 5432);
    }
}

#[test]
fn only_the_target_s_port_counts_and_only_as_the_remote_one() {
    let text = format!(
        "{HEAD}\n\
         \x20  0: 1500007F:1538 0100007F:9C40 01 00000000:00000000 00:00000000 00000000   101        0 1 1 0 100 0 0 10 0\n\
         \x20  1: 0100007F:9C40 1500007F:1538 01 00000000:00000000 00:00000000 00000000   101        0 2 1 0 100 0 0 10 0\n\
         \x20  2: 0100007F:9C41 1500007F:1539 01 00000000:00000000 00:00000000 00000000   101        0 3 1 0 100 0 0 10 0\n"
    );
    let found = parse_tables(&text, 5432).unwrap().sockets;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].local.port(), 40000);
    assert_eq!(found[0].remote, "127.0.0.21:5432".parse().unwrap());
}

#[test]
fn states_that_are_no_pool_s_do_not_count() {
    for state in 1..MAX_STATES {
        let text = format!(
            "{HEAD}\n   0: 0100007F:9C40 1500007F:1538 {state:02X} 00000000:00000000 00:00000000 00000000     0        0 0 3 0\n"
        );
        let found = parse_tables(&text, 5432).unwrap().sockets;
        let counts = state == ESTABLISHED || state == CLOSE_WAIT;
        assert_eq!(found.len(), usize::from(counts), "{state}");
    }
    let odd = format!(
        "{HEAD}\n   0: 0100007F:9C40 1500007F:1538 0E 00000000:00000000 00:00000000 00000000 0 0 0\n"
    );
    assert_eq!(parse_tables(&odd, 5432), Err(TableError::Line { line: 2 }));
}

#[test]
fn a_socket_that_the_kernel_printed_twice_is_one() {
    let twice = format!(
        "{HEAD}\n\
         \x20  0: 0100007F:9C40 1500007F:1538 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n\
         \x20  1: 0100007F:9C40 1500007F:1538 08 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n"
    );
    let found = parse_tables(&twice, 5432).unwrap().sockets;
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].state,
        SocketState::ClosedByServer,
        "the later word"
    );
}

#[test]
fn this_machine_s_own_table_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let mut open: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(server).unwrap())
        .collect();
    for stream in &mut open {
        stream.write_all(b"x").unwrap();
    }
    let text = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let mut found: Vec<u16> = parse_tables(&text, server.port())
        .unwrap()
        .sockets
        .iter()
        .map(|s| s.local.port())
        .collect();
    found.sort_unstable();
    let mut wanted: Vec<u16> = open
        .iter()
        .map(|s| s.local_addr().unwrap().port())
        .collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

/// A row as the kernel prints it: local end, remote end, uid.
fn row(local: &str, remote: &str, uid: u32) -> String {
    let [local, remote] = [local, remote].map(|end| {
        let end: SocketAddr = end.parse().unwrap();
        format!("{}:{:04X}", words(end.ip(), false), end.port())
    });
    format!(
        "   0: {local} {remote} 01 00000000:00000000 00:00000000 00000000 {uid:5}        0 1658420 1 0 20 4 0 10 -1\n"
    )
}

fn remotes(rows: &[String]) -> Vec<String> {
    let text = format!("{HEAD}\n{}", rows.concat());
    let sockets = parse_tables(&text, 5432).unwrap().sockets;
    sockets.iter().map(|s| s.remote.to_string()).collect()
}

#[test]
fn of_a_connection_through_a_mesh_s_proxy_only_the_socket_that_leaves_the_pod_counts() {
    for (proxy, listener) in [(1337, "127.0.0.1:15001"), (2102, "127.0.0.1:4140")] {
        // The proxy resolves the name again: the app asked for one reader and is connected to another.
        let redirected = [
            row("10.0.9.9:41000", "10.0.0.2:5432", 1000),
            row(listener, "10.0.9.9:41000", proxy),
            row("10.0.9.9:52000", "10.0.0.3:5432", proxy),
        ];
        assert_eq!(remotes(&redirected), ["10.0.0.3:5432"]);
        // Captured names have addresses that lead nowhere.
        let captured = [
            row("10.0.9.9:52000", "10.0.0.3:5432", proxy),
            row(listener, "10.0.9.9:41000", proxy),
            row("10.0.9.9:41000", "240.240.0.7:5432", 1000),
        ];
        assert_eq!(remotes(&captured), ["10.0.0.3:5432"]);
    }
}

#[test]
fn a_connection_that_a_mesh_leaves_alone_counts() {
    let excluded = [
        row("10.0.9.9:41000", "10.0.0.2:5432", 1000),
        row("127.0.0.1:15001", "10.0.9.9:41001", 1337),
        row("10.0.9.9:41001", "10.0.7.7:443", 1000),
        row("10.0.9.9:52000", "10.0.7.7:443", 1337),
    ];
    assert_eq!(remotes(&excluded), ["10.0.0.2:5432"]);
    let app_as_1337 = [row("10.0.9.9:41000", "10.0.0.2:5432", 1337)];
    assert_eq!(remotes(&app_as_1337), ["10.0.0.2:5432"]);
}

#[test]
fn a_pooler_in_the_pod_is_not_taken_for_a_mesh() {
    let pooler = [
        row("127.0.0.1:50000", "127.0.0.1:5432", 1000),
        row("127.0.0.1:5432", "127.0.0.1:50000", 70),
        row("10.0.9.9:52000", "10.0.0.3:5432", 70),
    ];
    assert_eq!(remotes(&pooler), ["127.0.0.1:5432", "10.0.0.3:5432"]);
}

/// A table with that many sockets to port 5432, each to another port of the pod or another address.
fn table_of(rows: usize) -> String {
    let mut text = format!("{HEAD}\n");
    for row in 0..rows {
        let (address, port) = (row / 60_000, 1024 + row % 60_000);
        let _ = writeln!(
            text,
            "0: 0100007F:{port:04X} {address:06X}0A:1538 01 0:0 0:0 0 0 0 0"
        );
    }
    text
}

#[test]
fn a_table_with_more_sockets_than_any_pool_has_is_not_kept() {
    let most = parse_tables(&table_of(MAX_SOCKETS), 5432).unwrap();
    assert_eq!(most.sockets.len(), MAX_SOCKETS);
    let over = parse_tables(&table_of(84_000), 5432);
    assert_eq!(over, Err(TableError::TooMany));
    // Sockets to other ports do not count.
    assert!(
        parse_tables(&table_of(84_000), 3306)
            .unwrap()
            .sockets
            .is_empty()
    );
}
