//! Where connections come from.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use ostler::monitor::SocketName;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::limits::Full;
use crate::rest::Peer;

/// Connections on a Unix socket that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// A socket that is listened at.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "dropping it removes the socket")] SocketName),
}

/// A connection.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Listener {
    /// Listens at an address. Whoever reaches it may try tokens: think of [`SocketAddr::ip`] being a loopback one.
    ///
    /// # Errors
    /// The address is in use, or not this machine's.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(Kind::Tcp(TcpListener::bind(address).await?)))
    }

    /// Listens at a Unix socket for processes of this user, who need no token: mode 0600, and each peer's user is checked. A
    /// socket that nobody listens at any more is replaced.
    ///
    /// # Errors
    /// Something else is at `path`, another program listens there, or the folder cannot be written.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let (socket, name) = ostler::monitor::private_socket(path.as_ref())?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self(Kind::Unix(UnixListener::from_std(socket)?, name)))
    }

    /// The address that it listens at, also where the port was 0; `None` for a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix(..) => None,
        }
    }

    /// The next connection of somebody who may connect. Cancel safe.
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        loop {
            match &self.0 {
                Kind::Tcp(listener) => {
                    let (stream, from) = listener.accept().await?;
                    // Refused only where it means nothing.
                    let _ = stream.set_nodelay(true);
                    return Ok(Accepted::Tcp(stream, from.ip().to_canonical()));
                }
                Kind::Unix(listener, _) => {
                    let (stream, _) = listener.accept().await?;
                    let own = rustix::process::geteuid().as_raw();
                    // The mode of the socket keeps others out; root passes by it, and is somebody else.
                    if stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
                        return Ok(Accepted::Unix(stream));
                    }
                }
            }
        }
    }
}

impl Accepted {
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(..) => Peer::Anybody,
            Self::Unix(_) => Peer::SameUser,
        }
    }

    /// Says that there is no place, as far as that can be said without waiting, and closes.
    pub(super) fn refuse(self, Full { limit, max }: Full) {
        let detail = format!(
            "{{\"type\":\"urn:ostler:problem:too-many\",\"title\":\"Not serving\",\"status\":503,\"detail\":\"{max} of {max} \
             connections are open; close some, or keep them for several requests\",\"limit\":\"{limit}\"}}\n"
        );
        let head = format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             retry-after: 1\r\nconnection: close\r\n\r\n",
            detail.len()
        );
        let answer = [head, detail].concat();
        // A peer that does not take it sees the end of the connection.
        let _ = match &self {
            Self::Tcp(stream, _) => stream.try_write(answer.as_bytes()),
            Self::Unix(stream) => stream.try_write(answer.as_bytes()),
        };
    }
}
