//! A socket at which a process is awaited that knows a secret: the keeper of a copy, or a copy that saves.
//!
//! Abstract names are read by everybody (`/proc/net/unix`), and every process may connect. So the process that is meant
//! is told a secret, over the channel of its worker, and sends that before anything else. Of whoever is accepted nothing
//! is believed, looked at or held before the whole secret has come. The stream that is handed out begins behind it.

use std::{
    collections::VecDeque,
    fmt, io, mem,
    os::{linux::net::SocketAddrExt, unix::net},
    sync::Arc,
    time::Duration,
};

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, UnixStream},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::log;

/// Bytes from the system's source of randomness.
const RANDOM_LEN: usize = 32;
/// What is sent: two hexadecimal digits for each of them.
const SECRET_LEN: usize = 2 * RANDOM_LEN;
/// Digits of the name that nobody can foresee, so that nobody can take it before.
const NAME_LEN: usize = 16;
/// How long one may take until its secret is there. The process that is meant sends it at once.
const SECRET_LIMIT: Duration = Duration::from_secs(5);
/// How many may be at it at a time. One more takes the place of the first.
const CROWD_MAX: usize = 32;
/// For so long nobody's place is taken: a crowd does not push out who is about to send.
const TURN: Duration = Duration::from_millis(100);

/// What a process must know to be let in.
#[derive(Clone)]
struct Secret(Arc<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a secret)")
    }
}

impl Secret {
    /// In full, and taking as long whatever differs.
    fn is(&self, told: &[u8; SECRET_LEN]) -> bool {
        let differs = self.0.bytes().zip(told).fold(0, |differs, (ours, theirs)| differs | (ours ^ theirs));
        self.0.len() == told.len() && differs == 0
    }
}

/// A socket at which one process is awaited.
#[derive(Debug)]
pub(super) struct Rendezvous {
    listener: UnixListener,
    address: String,
    secret: Secret,
    /// Those that have not sent the secret, each with its end.
    crowd: JoinSet<Option<(UnixStream, u32)>>,
    /// When each of them came, the first first.
    places: VecDeque<(Instant, AbortHandle)>,
    told: bool,
}

impl Rendezvous {
    /// Listens. `purpose` begins the name. Called within a runtime.
    pub(super) fn new(purpose: &str) -> io::Result<Self> {
        let secret = Secret(random()?.into());
        let address = format!("ostler-{purpose}-{}", &random()?[..NAME_LEN]);
        let listener = net::UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(&address)?)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let (crowd, places) = Default::default();
        Ok(Self { listener, address, secret, crowd, places, told: false })
    }

    /// The abstract name of the socket.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What the process must send first.
    pub(super) fn secret(&self) -> &str {
        &self.secret.0
    }

    /// The process that knows the secret: its end, and its id. Whoever else comes is turned away. Without a limit.
    pub(super) async fn arrives(mut self) -> io::Result<(UnixStream, u32)> {
        // There may be no descriptor for one more because so many of them are held here.
        let mut short = false;
        loop {
            self.places.retain(|(_, place)| !place.is_finished());
            // One that waits in line is not taken from it while there is no place.
            let turn = self.places.front().map(|(came, _)| *came + TURN);
            let is_full = short || self.places.len() >= CROWD_MAX;
            tokio::select! {
                Some(ended) = self.crowd.join_next() => match ended {
                    Ok(Some(met)) => return Ok(met),
                    Ok(None) | Err(_) => self.tell(),
                },
                came = self.listener.accept(), if !is_full => match came {
                    Ok((stream, _)) => self.examine(stream),
                    Err(error) if self.places.is_empty() => return Err(error),
                    Err(_) => short = true,
                },
                () = sleep_until(turn.unwrap_or_else(Instant::now)), if is_full => {
                    short = false;
                    if let Some((_, first)) = self.places.pop_front() {
                        first.abort();
                    }
                }
            }
        }
    }

    /// Waits for what it sends, beside the others.
    fn examine(&mut self, mut stream: UnixStream) {
        let secret = self.secret.clone();
        let sends = async move {
            let peer = stream.peer_cred().ok()?;
            let pid = peer.pid().filter(|_| peer.uid() == rustix::process::geteuid().as_raw())?;
            let mut told = [0; SECRET_LEN];
            timeout(SECRET_LIMIT, stream.read_exact(&mut told)).await.ok()?.ok()?;
            secret.is(&told).then(|| (stream, pid.unsigned_abs()))
        };
        let place = self.crowd.spawn(sends);
        self.places.push_back((Instant::now(), place));
    }

    /// Once: who floods the socket shall not flood the log.
    fn tell(&mut self) {
        if !mem::replace(&mut self.told, true) {
            log::warn!(
                address = self.address,
                "a stranger came where a copy of a worker is awaited; it is turned away"
            );
        }
    }
}

/// Hexadecimal digits, [`SECRET_LEN`] of them.
fn random() -> io::Result<String> {
    let mut bytes = [0; RANDOM_LEN];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
