//! `larder demo`: a sample API, Larder before it, and what to try.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::app;
use crate::cli::{Demo, Failure, launch, runtime, sample, tell};
use crate::config::scalar::address::Address;
use crate::server::shutdown::Drain;

/// How many ports are tried, from the usual one on.
const PORTS: u16 = 100;

/// Runs the demo until it is ended.
pub(super) fn run(demo: &Demo) -> Result<(), Failure> {
    if let Some(Address(address)) = demo.api_only {
        let api = TcpListener::bind(address).map_err(|error| taken(address, &error))?;
        return serve_alone(api);
    }
    let api = free(3000)?;
    let at = place(&api)?;
    let proxy = given_or_free(demo.listen, 8080)?;
    let admin = given_or_free(demo.admin, 9090)?;
    thread::Builder::new()
        .name("sample-api".into())
        .spawn(move || serve(api, &Drain::new()))
        .map_err(|error| Failure::Failed(format!("cannot start the sample API: {error}")))?;
    launch::demo(at, (proxy, admin), move |bound| {
        if let Some(proxy) = bound.listen.first() {
            // Nobody reads: then nobody misses it.
            let _ = tell(&introduction(at, proxy.address, bound.admin));
        }
        app::tell(bound);
    })
}

/// Serves the sample API alone, until SIGTERM or Ctrl-C.
fn serve_alone(listener: TcpListener) -> Result<(), Failure> {
    let at = place(&listener)?;
    let drain = Drain::new();
    let ended = drain.clone();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime().map(|runtime| runtime.block_on(end_on_signal(ended))))
        .map_err(|error| Failure::Failed(format!("cannot wait for signals: {error}")))?;
    tell(&format!("the sample API listens on http://{at}"))?;
    serve(listener, &drain)
}

fn serve(listener: TcpListener, drain: &Drain) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::Failed(format!("cannot serve the sample API: {error}"));
    listener.set_nonblocking(true).map_err(failed)?;
    runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        sample::serve(listener, drain.clone()).await;
        Ok(())
    })
}

async fn end_on_signal(drain: Drain) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drain.begin();
}

/// A listener on `port` of this machine, or on the next free one.
fn free(port: u16) -> Result<TcpListener, Failure> {
    (port..port + PORTS).find_map(|port| TcpListener::bind(local(port)).ok()).ok_or_else(|| {
        let last = port + PORTS - 1;
        Failure::Failed(format!("no port from {port} to {last} is free on 127.0.0.1"))
    })
}

fn given_or_free(given: Option<Address>, port: u16) -> Result<Address, Failure> {
    given.map_or_else(|| place(&free(port)?).map(Address), Ok)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn place(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener
        .local_addr()
        .map_err(|error| Failure::Failed(format!("cannot tell where the demo listens: {error}")))
}

fn taken(address: SocketAddr, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot listen on {address}: {error}"))
}

fn introduction(api: SocketAddr, proxy: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "\
A sample API runs on http://{api}, Larder before it on http://{proxy}.
Try these, in another terminal, and watch X-Cache and \"origin_request\":

  curl -i http://{proxy}/products/1    # MISS: fetched from the API
  curl -i http://{proxy}/products/1    # HIT: from memory, the API is not asked
  curl -i http://{admin}/admin/purges -H 'Content-Type: application/json' -d '{{\"tags\": [\"product:1\"]}}'
  curl -i http://{proxy}/products/1    # MISS: it was purged

More: /products (a list), /slow (2 s once, then at once), /cart (never stored),
curl -X PUT http://{proxy}/products/1 -d '{{\"cents\": 1250}}' (a write purges what it changed).
Figures: http://{admin}/    Metrics: http://{admin}/metrics    End: Ctrl-C
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_gives_way_to_the_next_free_one() {
        let first = free(20_000).unwrap();
        let second = free(20_000).unwrap();
        assert_ne!(place(&first).unwrap(), place(&second).unwrap());
    }
}
