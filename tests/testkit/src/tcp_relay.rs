//! A TCP relay that can be cut: packets are neither passed nor refused, as in a partitioned network.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a cut relay checks whether it was restored.
const PAUSE: Duration = Duration::from_millis(20);

/// A running relay on loopback; its threads end with the program.
#[derive(Debug)]
pub struct TcpRelay {
    /// Where it listens, on loopback.
    pub port: u16,
    is_cut: Arc<AtomicBool>,
}

impl TcpRelay {
    /// Starts a relay to `target`, in the network of the calling thread.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_cut = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&is_cut);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(target) else {
                    continue;
                };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let is_cut = Arc::clone(&shared);
                    std::thread::spawn(move || copy_bytes(from, to, &is_cut));
                }
            }
        });
        Self { port, is_cut }
    }

    /// Holds back all bytes from now on, in both directions.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    /// Passes bytes again, those that were held back first.
    pub fn restore(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn copy_bytes(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        while is_cut.load(Ordering::SeqCst) {
            std::thread::sleep(PAUSE);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Read);
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_relay_holds_bytes_back_and_passes_them_when_restored() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = TcpRelay::start(server.local_addr().unwrap());
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port)).unwrap();
        let (mut peer, _) = server.accept().unwrap();
        let mut byte = [0];
        client.write_all(b"a").unwrap();
        peer.read_exact(&mut byte).unwrap();
        relay.cut();
        client.write_all(b"b").unwrap();
        peer.set_read_timeout(Some(PAUSE * 5)).unwrap();
        assert!(peer.read_exact(&mut byte).is_err(), "the relay is cut");
        relay.restore();
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        peer.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
    }
}
