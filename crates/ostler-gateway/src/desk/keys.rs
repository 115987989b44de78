//! Which run an `Idempotency-Key` stands for: a second request with the key and the same content is the same run. Decided
//! without a clock.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

use super::table::Owner;
use crate::wire::problem::Problem;

/// What became of the first request with a key: `None` while it is being submitted.
pub(crate) type Answer = Option<Result<Arc<str>, Problem>>;

/// Keys in use, each of one owner.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: HashMap<(Owner, Arc<str>), Known>,
    /// By the handle of the run.
    runs: HashMap<Arc<str>, (Owner, Arc<str>)>,
}

#[derive(Debug)]
struct Known {
    digest: blake3::Hash,
    answer: watch::Receiver<Answer>,
}

/// What a request with a key is.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The first: it is submitted, and what comes of it is told here.
    First(watch::Sender<Answer>),
    /// The same again.
    Again(watch::Receiver<Answer>),
    /// Another request with a key that is in use.
    Other,
}

impl Keys {
    /// Claims a key for a request with this content.
    pub(crate) fn claim(&mut self, owner: &Owner, key: &Arc<str>, digest: blake3::Hash) -> Claim {
        let place = (Arc::clone(owner), Arc::clone(key));
        if let Some(known) = self.known.get(&place) {
            let same = known.digest == digest;
            return if same { Claim::Again(known.answer.clone()) } else { Claim::Other };
        }
        let (told, answer) = watch::channel(None);
        self.known.insert(place, Known { digest, answer });
        Claim::First(told)
    }

    /// The first request with the key is this run: the key stands for it until [`forget`](Self::forget).
    pub(crate) fn is(&mut self, owner: &Owner, key: &Arc<str>, run: &Arc<str>) {
        self.runs.insert(Arc::clone(run), (Arc::clone(owner), Arc::clone(key)));
    }

    /// The first request with the key was refused: no code ran, and the key is free.
    pub(crate) fn free(&mut self, owner: &Owner, key: &Arc<str>) {
        self.known.remove(&(Arc::clone(owner), Arc::clone(key)));
    }

    /// The run is no longer kept, and neither is its key.
    pub(crate) fn forget(&mut self, run: &str) {
        if let Some(place) = self.runs.remove(run) {
            self.known.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G17, where it is decided.
    #[test]
    fn a_key_stands_for_one_run_of_one_owner() {
        let mut keys = Keys::default();
        let (a, b, key): (Owner, Owner, Arc<str>) = ("a".into(), "b".into(), "k".into());
        let (one, other) = (blake3::hash(b"1"), blake3::hash(b"2"));
        let Claim::First(told) = keys.claim(&a, &key, one) else { panic!("the first") };
        let Claim::Again(answer) = keys.claim(&a, &key, one) else { panic!("the same again") };
        assert!(matches!(keys.claim(&a, &key, other), Claim::Other));
        assert!(matches!(keys.claim(&b, &key, other), Claim::First(_)), "somebody else's key is another one");
        let run: Arc<str> = "e-1".into();
        keys.is(&a, &key, &run);
        told.send_replace(Some(Ok(run)));
        assert_eq!(answer.borrow().clone().unwrap().unwrap(), "e-1".into());
        keys.forget("e-1");
        assert!(matches!(keys.claim(&a, &key, other), Claim::First(_)));
    }

    #[test]
    fn a_key_whose_request_was_refused_is_free() {
        let mut keys = Keys::default();
        let (a, key): (Owner, Arc<str>) = ("a".into(), "k".into());
        let Claim::First(_) = keys.claim(&a, &key, blake3::hash(b"1")) else { panic!("the first") };
        keys.free(&a, &key);
        assert!(matches!(keys.claim(&a, &key, blake3::hash(b"2")), Claim::First(_)));
    }
}
