//! What a service manager and this process tell each other: sockets that are open already, and how far it has come.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::warn;

use crate::app::StartError;
use crate::server::listen;

/// Listening sockets that whoever started this process opened for it: what waits in their queues is lost by no restart,
/// and two processes that share them may follow each other without a gap.
pub(crate) struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// The sockets that `LISTEN_FDS` announces; none where it announces none, or (by `LISTEN_PID`) announces them to
    /// another process. Takes the variables out of the environment, and so must be asked before there are threads.
    pub(crate) fn take() -> Result<Self, StartError> {
        let mut handed = ListenFd::from_env();
        let sockets = (0..handed.len()).map(|index| handed.take_tcp_listener(index));
        let sockets: io::Result<Vec<_>> = sockets.collect();
        let sockets = sockets.map_err(|why| {
            StartError::Configuration(format!(
                "LISTEN_FDS hands over what is no TCP socket: {why}; write only ListenStream=ADDRESS:PORT into the socket unit"
            ))
        })?;
        Ok(Self(sockets.into_iter().flatten().collect()))
    }

    /// A socket for each worker: that which was handed over for this address, or new ones.
    pub(crate) fn bind(
        &mut self,
        address: SocketAddr,
        workers: usize,
    ) -> io::Result<Vec<TcpListener>> {
        let is_for = |socket: &TcpListener| socket.local_addr().is_ok_and(|at| same(at, address));
        match self.0.iter().position(is_for) {
            Some(index) => listen::share(self.0.swap_remove(index), workers),
            None => listen::bind(address, workers),
        }
    }

    /// Tells of those that no listener is configured for, and closes them.
    pub(crate) fn close(self) {
        for socket in self.0 {
            if let Ok(address) = socket.local_addr() {
                warn!(server.address = %address, "a socket was handed over for which no listener is configured");
            }
        }
    }
}

/// Whether a socket at `handed` is one for `configured`. Every address is every address, in both families: systemd's
/// `ListenStream=8080` is `[::]:8080`.
fn same(handed: SocketAddr, configured: SocketAddr) -> bool {
    let everywhere = handed.ip().is_unspecified() && configured.ip().is_unspecified();
    handed == configured || everywhere && handed.port() == configured.port()
}

/// Tells the service manager, where there is one that wants to know (`NOTIFY_SOCKET`), that this process serves.
pub(crate) fn ready() {
    tell(NotifyState::Ready);
}

/// Tells it that this process is about to end.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_for_its_own_address_and_everywhere_is_everywhere() {
        let rows = [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "0.0.0.0:81", false),
            ("[::]:80", "127.0.0.1:80", false),
        ];
        for (handed, configured, expected) in rows {
            let found = same(handed.parse().unwrap(), configured.parse().unwrap());
            assert_eq!(found, expected, "{handed} for {configured}");
        }
    }
}
