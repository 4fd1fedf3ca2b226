//! The address of `[http] listen`, bound before anything is answered on it: a TCP port, or a Unix socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::HttpOptions;

/// Before the path of a Unix socket.
pub const UNIX: &str = "unix:";

/// The address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("[http] listen = {listen:?}: the address cannot be bound")]
    NotBound { listen: String, source: io::Error },
    #[error(
        "[http] listen = {listen:?}: with reload = true it must be an address of this machine only, and it is {address}"
    )]
    NotLoopback { listen: String, address: SocketAddr },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Error::NotBound { .. } => "stop what listens there, or correct [http] listen",
            Error::NotLoopback { .. } => "write listen = \"127.0.0.1:PORT\", or leave reload out",
        }
    }
}

/// An address that is bound, before anything is answered on it.
pub struct Bound {
    pub(super) listener: Listener,
    /// With the chosen port, if port 0 was configured.
    pub address: String,
}

pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// The file of a Unix socket.
    pub(super) fn socket(&self) -> Option<&str> {
        self.address.strip_prefix(UNIX)
    }
}

/// Binds the address.
///
/// # Errors
/// It is in use, is not this machine's, or must not be bound.
pub fn bind(options: &HttpOptions) -> Result<Bound, Error> {
    let listen = options.listen.clone();
    let failed = |source| Error::NotBound { listen: listen.clone(), source };
    if let Some(path) = listen.strip_prefix(UNIX) {
        let listener = bind_socket(&PathBuf::from(path)).map_err(failed)?;
        return Ok(Bound { listener: Listener::Unix(listener), address: listen });
    }
    let (listener, address) = bind_port(&listen).map_err(failed)?;
    // What `localhost` leads to is the system's to say.
    if options.reload && !address.ip().is_loopback() {
        return Err(Error::NotLoopback { listen, address });
    }
    Ok(Bound { listener: Listener::Tcp(listener), address: address.to_string() })
}

fn bind_port(listen: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A process that was killed leaves its socket behind. It is replaced when nobody answers there.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let is_left_behind = || {
        let is_socket = path.symlink_metadata().is_ok_and(|it| it.file_type().is_socket());
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        is_socket && UnixStream::connect(path).is_err_and(refused)
    };
    if is_left_behind() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Removes the file of a socket that nobody listens on any more.
pub(super) fn unlink(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, "remove the file of the Unix socket");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(listen: &str) -> Result<Bound, Error> {
        bind(&HttpOptions { listen: listen.to_owned(), reload: true })
    }

    #[test]
    fn a_socket_that_a_killed_process_left_behind_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.sock");
        let listen = format!("{UNIX}{}", path.display());
        let first = bound(&listen).unwrap();
        assert_eq!(first.socket(), path.to_str());
        assert!(matches!(bound(&listen), Err(Error::NotBound { .. })), "it answers");
        drop(first);
        assert!(path.exists(), "the system leaves it");
        drop(bound(&listen).unwrap());
        unlink(&path);
        assert!(!path.exists());
        std::fs::write(&path, "no socket").unwrap();
        assert!(matches!(bound(&listen), Err(Error::NotBound { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "no socket");
    }

    #[test]
    fn reload_is_for_this_machine_only() {
        assert!(bound("127.0.0.1:0").is_ok());
        assert!(matches!(bound("0.0.0.0:0"), Err(Error::NotLoopback { .. })));
    }
}
