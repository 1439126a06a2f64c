//! Listening sockets: one port, one socket per worker, so that accepting needs no lock.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that wait to be accepted; the kernel may cap it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Nobody,
    OurWorkers,
}

/// `workers` sockets on one address (`SO_REUSEPORT`); port 0 picks a free port, the same for all.
///
/// A port that another program uses is `AddrInUse`, even if that program shares its port as well: sharing is
/// asked for only after a bind without it has shown that nobody is there.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        drop(socket(address, Share::Nobody)?);
    }
    let first = listen(address)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(listen(bound)?);
    }
    Ok(listeners)
}

/// As many handles of one socket that listens already: what waits in its queue is anybody's.
pub fn share(listener: TcpListener, workers: usize) -> io::Result<Vec<TcpListener>> {
    let socket = SockRef::from(&listener);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let mut listeners = vec![listener];
    for _ in 1..workers {
        listeners.push(listeners[0].try_clone()?);
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Share::OurWorkers)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A bound socket. What is accepted from it inherits `TCP_NODELAY`.
fn socket(address: SocketAddr, share: Share) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restart would have to wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if share == Share::OurWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn workers_share_the_port_that_the_first_was_given() {
        let listeners = bind(loopback(), 3).unwrap();
        let ports: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]));
    }

    #[test]
    fn a_port_in_use_is_told_even_if_its_user_shares_it() {
        let theirs = bind(loopback(), 1).unwrap();
        let address = theirs[0].local_addr().unwrap();
        assert_eq!(bind(address, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(theirs);
        assert!(bind(address, 2).is_ok());
    }
}
