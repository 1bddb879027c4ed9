//! The test app: one line of log and one counter for each signal and each HTTP call it gets.
//!
//! It decides nothing and has no pools. As process 1 of a container it shows what an app would see of a recycle.
//!
//! | call | answer |
//! |---|---|
//! | `GET /healthz` | 200 |
//! | `GET /readyz` | 503 until `READY_DELAY_SECONDS` have passed, then 200 |
//! | `POST /recycle` | 200 |
//! | `POST /fail` | 500 |
//! | `POST /slow` | 200 after 60 s |
//! | `POST /redirect` | 302 to another host |
//! | `GET /log` | the counters: `{"signals":{"HUP":1},"http":{"/recycle":2}}` |
//!
//! TERM ends it at once. `IGNORE_HUP=1` leaves HUP without a handler, which process 1 then never sees. Its port
//! is 8080, or `PORT`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// Longer than any caller's patience.
const SLOW: Duration = Duration::from_mins(1);
/// Bodies are read and thrown away; more than this is not.
const LONGEST_BODY: u64 = 1 << 20;

type Counters = BTreeMap<String, u64>;

static SIGNALS: Mutex<Counters> = Mutex::new(Counters::new());
static HTTP: Mutex<Counters> = Mutex::new(Counters::new());

/// Counts one more and gives the count.
fn count(counters: &Mutex<Counters>, name: &str) -> u64 {
    let mut counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
    let one = counters.entry(name.to_owned()).or_default();
    *one += 1;
    *one
}

/// A line at once: a killed process must not have swallowed any.
fn log(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn json(counters: &Mutex<Counters>) -> String {
    let counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
    let fields: Vec<String> = counters
        .iter()
        .map(|(name, n)| format!("{name:?}:{n}"))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn answer(method: &str, path: &str, ready: bool) -> (u16, String) {
    match (method, path) {
        ("GET", "/healthz") | ("POST", "/recycle") => (200, "ok\n".to_owned()),
        ("GET", "/readyz") if ready => (200, "ok\n".to_owned()),
        ("GET", "/readyz") => (503, "not yet\n".to_owned()),
        ("GET", "/log") => (
            200,
            format!(
                "{{\"signals\":{},\"http\":{}}}\n",
                json(&SIGNALS),
                json(&HTTP)
            ),
        ),
        ("POST", "/fail") => (500, "failed\n".to_owned()),
        ("POST", "/slow") => {
            std::thread::sleep(SLOW);
            (200, "at last\n".to_owned())
        }
        ("POST", "/redirect") => (302, String::new()),
        _ => (404, "unknown\n".to_owned()),
    }
}

fn serve(stream: TcpStream, ready_at: Instant) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut words = request.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(());
    };
    let path = target.split('?').next().unwrap_or(target).to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(
        &mut reader.by_ref().take(length.min(LONGEST_BODY)),
        &mut std::io::sink(),
    )?;
    // Probes and questions for the counters are no news.
    let counted = !matches!(path.as_str(), "/healthz" | "/readyz" | "/log");
    if counted {
        let n = count(&HTTP, &path);
        log(&format!("http {method} {path} {n}"));
    }
    let (status, body) = answer(method, &path, Instant::now() >= ready_at);
    let location = if status == 302 {
        "Location: http://elsewhere.invalid/\r\n"
    } else {
        ""
    };
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status} {}\r\nContent-Length: {}\r\n{location}Connection: close\r\n\r\n{body}",
        if status < 300 { "OK" } else { "Not OK" },
        body.len()
    )?;
    stream.flush()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> std::io::Result<()> {
    let mut caught = vec![SIGUSR1, SIGUSR2, SIGINT, SIGTERM];
    if std::env::var("IGNORE_HUP").as_deref() != Ok("1") {
        caught.push(SIGHUP);
    }
    let mut signals = Signals::new(caught)?;
    let ready_at = Instant::now() + Duration::from_secs(number("READY_DELAY_SECONDS").unwrap_or(0));
    let port = number("PORT")
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(8080);
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    log(&format!(
        "testapp listens on {port} as process {}",
        std::process::id()
    ));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, ready_at));
        }
    });
    for signal in &mut signals {
        let name = match signal {
            SIGHUP => "HUP",
            SIGUSR1 => "USR1",
            SIGUSR2 => "USR2",
            SIGINT => "INT",
            _ => "TERM",
        };
        let n = count(&SIGNALS, name);
        log(&format!("signal {name} {n}"));
        if signal == SIGTERM {
            break;
        }
    }
    Ok(())
}
