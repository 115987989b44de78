//! Sessions by their handles or names: made, woken, put to sleep, forked and ended.

use std::sync::Arc;

use ostler::Restored;
use tokio::time::Instant;

use super::{
    Desk,
    principal::Principal,
    session::{SessionEntry, SessionState, Use},
    table::Found,
    time,
};
use crate::wire::{
    handle::{self, Kind},
    problem::Problem,
};

/// A session that was made, or was there.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) used: Use,
    pub(crate) restored: Option<Restored>,
    pub(crate) is_new: bool,
}

/// What the library calls a named session: names of two principals are never the same.
fn disk_name(who: &Principal, name: &str) -> String {
    let owner = blake3::hash(who.name.as_bytes());
    format!("{}.{name}", &owner.to_hex()[..16])
}

/// The handle of a named session, which is the same after a restart of the server.
fn named_handle(who: &Principal, name: &str) -> Arc<str> {
    let named = blake3::hash(disk_name(who, name).as_bytes());
    format!("s-{}", &named.to_hex()[..32]).into()
}

impl Desk {
    /// Finds the sessions that an earlier server saved: they are asleep.
    pub(crate) async fn find_saved(self: &Arc<Self>) {
        // Without a folder for states there are none, and a disk that cannot be read says so when one is asked for.
        let saved = self.runtime.saved_sessions().await.unwrap_or_default();
        for who in self.principals.iter() {
            let prefix = disk_name(who, "");
            for name in saved.iter().filter_map(|name| name.strip_prefix(&prefix)) {
                let entry = Self::new_entry(who, named_handle(who, name), Some(name), SessionState::OnDisk);
                // Those beyond the limit are found again by their names when there is room.
                let _ = self.insert_session(who, entry);
            }
        }
    }

    /// A session that is not in the table yet.
    fn new_entry(
        who: &Principal,
        handle: Arc<str>,
        name: Option<&str>,
        state: SessionState,
    ) -> Arc<SessionEntry> {
        let disk = name.map(|name| disk_name(who, name));
        Arc::new(SessionEntry::new(handle, name.map(Into::into), disk, time::now(), state))
    }

    /// Puts it into the table, if there is room, or finds the one that has its handle already.
    fn insert_session(
        &self,
        who: &Principal,
        entry: Arc<SessionEntry>,
    ) -> Result<(Arc<SessionEntry>, bool), Problem> {
        let mut tables = self.tables();
        if let Found::Here(there) = tables.sessions.find(&who.name, &entry.handle) {
            return Ok((there, false));
        }
        tables.sessions.reserve(&who.name, who.sessions).map_err(|max| {
            let name = &who.name;
            let detail = format!("`{name}` has {max} of {max} sessions; delete one of them first");
            Problem::too_many("sessions", detail, None)
        })?;
        tables.sessions.insert(Arc::clone(&entry.handle), Arc::clone(&who.name), Arc::clone(&entry));
        Ok((entry, true))
    }

    /// The session of this name, which may be there already; or a new one, with the state of a checkpoint. Waits for a
    /// worker. When the future is dropped there is no new session.
    pub(crate) async fn make(
        self: &Arc<Self>,
        who: &Principal,
        name: Option<&str>,
        from: Option<&str>,
    ) -> Result<Made, Problem> {
        if self.is_draining() {
            return Err(Problem::draining());
        }
        if let Some(name) = name {
            handle::check_name(name)?;
        }
        let checkpoint = from.map(|from| self.checkpoint(who, from)).transpose()?;
        let handle = match name {
            Some(name) => named_handle(who, name),
            None => self.new_handle(Kind::Session, who)?,
        };
        let (entry, is_new) =
            self.insert_session(who, Self::new_entry(who, handle, name, SessionState::OnDisk))?;
        let undo = is_new.then(|| Undo { desk: self, handle: Arc::clone(&entry.handle), is_needed: true });
        let (used, mut restored) = self.woken(who, entry).await?;
        if let Some(kept) = checkpoint {
            restored = Some(used.session.restore(&kept.checkpoint).await?);
        }
        if let Some(mut undo) = undo {
            undo.is_needed = false;
        }
        Ok(Made { used, restored, is_new })
    }

    /// The session, with its worker, and what came back if it slept.
    pub(crate) async fn awake(
        &self,
        who: &Principal,
        session: &str,
    ) -> Result<(Use, Option<Restored>), Problem> {
        let entry = self.session(who, session)?;
        self.woken(who, entry).await
    }

    async fn woken(
        &self,
        who: &Principal,
        entry: Arc<SessionEntry>,
    ) -> Result<(Use, Option<Restored>), Problem> {
        if entry.summary().state == "asleep" {
            self.make_room().await;
        }
        match entry.wake(&self.runtime_of(who)).await? {
            Some(woken) => Ok(woken),
            None => Err(self.session(who, &entry.handle).err().unwrap_or_else(Problem::draining)),
        }
    }

    /// Puts the session to sleep that nobody has used for the longest time, if all workers are taken. Whoever needs a worker
    /// waits for one in the pool all the same.
    pub(super) async fn make_room(&self) {
        let status = self.runtime.status().await;
        if status.leased + status.busy < status.max_sessions {
            return;
        }
        let mut awake: Vec<_> = self.tables().sessions.all().into_iter().map(|(_, entry)| entry).collect();
        awake.retain(|entry| entry.summary().state == "awake");
        awake.sort_by_key(|entry| entry.summary().used);
        for entry in awake {
            // One that is in use, or cannot be saved, stays awake.
            if entry.sleep().await == Ok(true) {
                return;
            }
        }
    }

    /// Finds a session by its handle or its name.
    pub(crate) fn session(&self, who: &Principal, session: &str) -> Result<Arc<SessionEntry>, Problem> {
        if handle::is_one(Kind::Session, session) {
            let found = self.tables().sessions.find(&who.name, session);
            return self.found(who, found, Kind::Session, session);
        }
        handle::check_name(session)?;
        let handle = named_handle(who, session);
        let found = self.tables().sessions.find(&who.name, &handle);
        self.found(who, found, Kind::Session, session)
    }

    /// The sessions of this principal.
    pub(crate) fn sessions(&self, who: &Principal) -> Vec<Arc<SessionEntry>> {
        self.tables().sessions.of(&who.name).into_iter().map(|(_, entry)| entry).collect()
    }

    /// A session that was found dead: it is remembered, and told.
    pub(super) async fn has_ended(&self, entry: &Arc<SessionEntry>, why: &str) -> Problem {
        // There is nothing to save.
        let _ = entry.end(false).await;
        let at = time::now();
        self.tables().sessions.remove(&entry.handle, at.clone(), why);
        Problem::gone(format!("session `{}`", entry.handle), at, why)
    }

    /// Ends a session, and saves it first if it has a name.
    pub(crate) async fn delete(&self, who: &Principal, session: &str, save: bool) -> Result<(), Problem> {
        let entry = self.session(who, session)?;
        entry.end(save).await?;
        self.tables().sessions.remove(&entry.handle, time::now(), "it was deleted");
        Ok(())
    }

    /// A session of its own with the same state. Waits for a worker.
    pub(crate) async fn fork(&self, who: &Principal, session: &str) -> Result<Use, Problem> {
        let (used, _) = self.awake(who, session).await?;
        let copy = Arc::new(used.session.fork().await?);
        let entry =
            Self::new_entry(who, self.new_handle(Kind::Session, who)?, None, SessionState::Awake(copy));
        let (entry, _) = self.insert_session(who, entry)?;
        Ok(self.woken(who, entry).await?.0)
    }

    /// Saves the sessions that nobody has used for long enough, each in a task of its own, and gives their workers back.
    pub(super) fn put_to_sleep(self: &Arc<Self>, now: Instant) {
        let sessions = self.tables().sessions.all();
        for (_, entry) in sessions {
            let summary = entry.summary();
            if summary.state == "awake"
                && now.saturating_duration_since(summary.used) >= self.config.sleep_after
            {
                // What cannot be saved stays awake, and is tried again.
                drop(tokio::spawn(async move { drop(entry.sleep().await) }));
            }
        }
    }

    /// Saves the named sessions, for the end of the server. Those that could not be saved are counted.
    pub(super) async fn save_all(&self) -> (usize, usize) {
        let sessions = self.tables().sessions.all();
        let named = sessions.into_iter().map(|(_, entry)| entry).filter(|entry| entry.disk_name.is_some());
        let mut saves = tokio::task::JoinSet::new();
        for entry in named.filter(|entry| entry.summary().state == "awake") {
            saves.spawn(async move { entry.end(true).await.is_ok() });
        }
        let saved = saves.join_all().await;
        let good = saved.iter().filter(|saved| **saved).count();
        (good, saved.len() - good)
    }
}

/// Takes a session out again that was not wholly made.
struct Undo<'a> {
    desk: &'a Desk,
    handle: Arc<str>,
    is_needed: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.is_needed {
            self.desk.tables().sessions.remove(&self.handle, time::now(), "it could not be made");
        }
    }
}
