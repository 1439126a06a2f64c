//! What can be done about an error of the system with which a start fails.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::app::StartError;

/// `EMFILE` of every Unix; the standard library has no word for it.
const TOO_MANY_OPEN_FILES: i32 = 24;

/// A start that failed because `what` did not work; where something can be done about it, that too.
pub(crate) fn failed(what: impl Display, why: &io::Error) -> StartError {
    match general(why) {
        Some(remedy) => StartError::Failed(format!("{what}: {why}; {remedy}")),
        None => StartError::Failed(format!("{what}: {why}")),
    }
}

/// A socket that could not be had, for an address that `keys` say.
pub(crate) fn no_socket(
    address: SocketAddr,
    whom: &str,
    keys: &str,
    why: &io::Error,
) -> StartError {
    let what = format!("cannot listen on {address}{whom}");
    let remedy = match why.kind() {
        ErrorKind::AddrInUse => "end what listens there, or name another",
        ErrorKind::AddrNotAvailable => "no interface of this machine has it; name another",
        ErrorKind::PermissionDenied => {
            "ports below 1024 may need a right of their own; name another"
        }
        _ => return failed(what, why),
    };
    StartError::Failed(format!("{what}: {why}; {remedy} with {keys}"))
}

fn general(why: &io::Error) -> Option<&'static str> {
    (why.raw_os_error() == Some(TOO_MANY_OPEN_FILES)).then_some(
        "raise the limit of open files (`ulimit -n`, `LimitNOFILE=` of systemd), or have fewer `workers`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_told_where_something_can() {
        let told = |error: StartError| error.to_string();
        let too_many = io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES);
        assert!(
            told(failed("cannot start threads", &too_many))
                .contains("; raise the limit of open files")
        );
        assert_eq!(told(failed("cannot", &ErrorKind::OutOfMemory.into())), "cannot: out of memory");
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let keys = "--listen ADDRESS or `listen`";
        for (kind, remedy) in [
            (ErrorKind::AddrInUse, "end what listens there, or name another with --listen"),
            (ErrorKind::AddrNotAvailable, "name another with --listen"),
            (ErrorKind::PermissionDenied, "name another with --listen"),
        ] {
            let told = told(no_socket(address, "", keys, &kind.into()));
            assert!(told.starts_with("cannot listen on 127.0.0.1:80: "), "{told}");
            assert!(told.contains(remedy), "{told}");
        }
        assert!(told(no_socket(address, "", keys, &too_many)).contains("limit of open files"));
    }
}
