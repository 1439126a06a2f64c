//! The threads that answer clients: one per worker, each with a runtime and a listening socket of its own.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::app::handover::Inherited;
use crate::app::threshold::Thresholds;
use crate::app::{Public, StartError, remedy};
use crate::config::settings::{Listener, Settings};
use crate::message::interim::Outbox;
use crate::pipeline::Front;
use crate::server::introduction::{Caller, Threshold};
use crate::server::limits::Limits;
use crate::server::shutdown::Drain;
use crate::server::{Welcome, serve};
use crate::store::shared::{FleetLeases, FleetLog, SecondLevel};

/// One listening address, with a socket for each worker.
pub(crate) struct Sockets {
    pub(crate) public: Public,
    threshold: Threshold,
    listeners: Vec<TcpListener>,
}

/// Running workers; they serve until the drain, and their flights land until they are stopped.
pub(crate) struct Workers {
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

type Stack = Front<SecondLevel, FleetLeases, FleetLog>;

/// Binds every address, a socket per worker.
pub(crate) fn sockets(
    settings: &Settings,
    thresholds: &Thresholds,
    inherited: &mut Inherited,
) -> Result<Vec<Sockets>, StartError> {
    let mut one = |listener: &Listener| {
        let address = listener.address;
        let keys = "--listen ADDRESS or `listen`";
        let failed = |why| remedy::no_socket(address, "", keys, &why);
        let listeners = inherited.bind(address, settings.workers).map_err(failed)?;
        Sockets::of(listener, thresholds, listeners).map_err(failed)
    };
    settings.listen.iter().map(&mut one).collect()
}

impl Sockets {
    fn of(
        listener: &Listener,
        thresholds: &Thresholds,
        listeners: Vec<TcpListener>,
    ) -> io::Result<Self> {
        let address = listener.address;
        let address = listeners.first().map_or(Ok(address), TcpListener::local_addr)?;
        let public = Public { address, speaks: listener.speaks };
        Ok(Self { public, threshold: thresholds.of(listener), listeners })
    }
}

impl Workers {
    /// Starts a thread per worker, each with the stack before its own connections.
    pub(crate) fn start(
        sockets: Vec<Sockets>,
        front: &Stack,
        limits: &Arc<Limits>,
        drain: &Drain,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let mut threads = Vec::new();
        for (number, listeners) in by_worker(sockets).into_iter().enumerate() {
            let (front, limits) = (front.clone(), limits.clone());
            let (drain, stop) = (drain.clone(), stop.clone());
            let thread = thread::Builder::new()
                .name(format!("larder-worker-{number}"))
                .spawn(move || work(listeners, &front, &limits, &drain, &stop));
            let failed = |why| remedy::failed("cannot start a worker's thread", &why);
            threads.push(thread.map_err(failed)?);
        }
        Ok(Self { stop, threads })
    }

    /// Ends the threads; what still runs there is dropped.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a worker's thread panicked");
            }
        }
    }
}

/// The listeners of all addresses, handed out to the workers.
fn by_worker(sockets: Vec<Sockets>) -> Vec<Vec<(TcpListener, Threshold)>> {
    let mut workers: Vec<Vec<_>> = Vec::new();
    for socket in sockets {
        for (number, listener) in socket.listeners.into_iter().enumerate() {
            if workers.len() <= number {
                workers.push(Vec::new());
            }
            workers[number].push((listener, socket.threshold.clone()));
        }
    }
    workers
}

/// One worker: everything that its clients ask for happens on this thread, so that a hit crosses no other.
fn work(
    listeners: Vec<(TcpListener, Threshold)>,
    front: &Stack,
    limits: &Arc<Limits>,
    drain: &Drain,
    stop: &CancellationToken,
) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            error!(error = %why, "a worker has no runtime");
            return;
        }
    };
    runtime.block_on(async {
        let mut serving = tokio::task::JoinSet::new();
        for (listener, threshold) in listeners {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let front = front.clone();
                    let make = move |caller: Caller, outbox: &Arc<Outbox>| {
                        let shortcut = Some(front.shortcut(caller.address, caller.scheme.clone()));
                        let service = front.welcome(caller.address, caller.scheme, outbox);
                        Welcome { service, shortcut }
                    };
                    serving.spawn(serve(listener, threshold, make, limits.clone(), drain.clone()));
                }
                Err(why) => error!(error = %why, "a worker cannot listen"),
            }
        }
        while serving.join_next().await.is_some() {}
        // Flights may still be landing here.
        stop.cancelled().await;
    });
}
