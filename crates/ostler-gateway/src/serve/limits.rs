//! How many connections there are, in all and of each peer.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::config::{CONNECTIONS_MAX, CONNECTIONS_PER_PEER_MAX};

/// How many connections there are.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionLimits(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// A connection has it as long as it is open.
#[derive(Debug)]
#[must_use = "the place is free when this is dropped"]
pub(super) struct ConnectionPermit {
    limits: ConnectionLimits,
    peer: Option<IpAddr>,
}

/// There is no place: which limit it is, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) limit: &'static str,
    pub(super) max: usize,
}

impl ConnectionLimits {
    /// A place for a connection from this address; from a Unix socket there is none.
    pub(super) fn take(&self, peer: Option<IpAddr>) -> Result<ConnectionPermit, Full> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= CONNECTIONS_MAX {
            return Err(Full { limit: "connections", max: CONNECTIONS_MAX });
        }
        if let Some(peer) = peer {
            let own = taken.by_peer.entry(peer).or_default();
            if *own >= CONNECTIONS_PER_PEER_MAX {
                return Err(Full { limit: "connections_per_peer", max: CONNECTIONS_PER_PEER_MAX });
            }
            *own += 1;
        }
        taken.all += 1;
        Ok(ConnectionPermit { limits: self.clone(), peer })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.limits.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(peer) = self.peer
            && let Some(own) = taken.by_peer.get_mut(&peer)
        {
            *own -= 1;
            if *own == 0 {
                taken.by_peer.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_all_and_for_each_peer_and_come_back() {
        let limits = ConnectionLimits::default();
        let peer = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let mut held: Vec<_> = (0..CONNECTIONS_PER_PEER_MAX).map(|_| limits.take(peer(1)).unwrap()).collect();
        assert_eq!(limits.take(peer(1)).unwrap_err().limit, "connections_per_peer");
        held.push(limits.take(peer(2)).unwrap());
        while held.len() < CONNECTIONS_MAX {
            held.push(limits.take(None).unwrap());
        }
        assert_eq!(limits.take(None).unwrap_err(), Full { limit: "connections", max: CONNECTIONS_MAX });
        held.truncate(1);
        assert!(limits.take(peer(1)).is_ok());
        drop(held);
        let taken = limits.0.lock().unwrap();
        assert_eq!((taken.all, taken.by_peer.len()), (0, 0));
    }
}
