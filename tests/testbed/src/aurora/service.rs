//! A server on threads of its own, stopped when it is dropped.
//!
//! The threads inherit the network of the thread that starts them: a server started inside
//! [`crate::kubernetes::Testbed::enter`] listens and answers in the testbed's network for as long as it lives.

use std::future::Future;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::oneshot;

/// Answers take microseconds: one thread to answer, one for the rest.
const WORKERS: usize = 2;

/// A running server.
#[derive(Debug)]
pub(super) struct ServerThread {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThread {
    /// Runs what `serve` gives until the value is dropped. `serve` is called inside the runtime, with the signal to
    /// end; it opens the sockets, so that a taken address is an error here, and gives the address it listens on.
    pub(super) fn start<F, S>(name: &str, serve: F) -> Result<Self>
    where
        F: FnOnce(oneshot::Receiver<()>) -> Result<(SocketAddr, S)> + Send + 'static,
        S: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let (opened, address) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(WORKERS)
                    .enable_all()
                    .build();
                let runtime = match runtime.context("cannot make a runtime") {
                    Ok(runtime) => runtime,
                    Err(e) => {
                        let _ = opened.send(Err(e));
                        return;
                    }
                };
                let guard = runtime.enter();
                match serve(stopped) {
                    Ok((address, serving)) => {
                        let _ = opened.send(Ok(address));
                        runtime.block_on(serving);
                    }
                    Err(e) => {
                        let _ = opened.send(Err(e));
                    }
                }
                drop(guard);
                // A call into the databases may take its time; its answer is no longer needed.
                runtime.shutdown_background();
            })
            .with_context(|| format!("cannot start the thread of the {name}"))?;
        let address = address
            .recv()
            .map_err(|_| anyhow!("the thread of the {name} has ended"))?
            .with_context(|| format!("cannot start the {name}"))?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens; the port is the real one when 0 was asked for.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
