//! What is told when a session goes on in a new worker.

use std::fmt;

use super::Generation;

/// Names that are told one by one.
const NAMES_TOLD: usize = 8;

/// A leased session goes on in a new worker: what is back, and what is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionRestored {
    /// Which worker of its slot it is in now.
    pub generation: Generation,
    /// The names that are back.
    pub restored: Vec<String>,
    /// The names of the saved state that are not back: those that could not be saved, and those that could not be brought
    /// back.
    pub lost: Vec<LostName>,
    /// How many executions were begun since that state was saved. Whatever they made or changed is lost too.
    pub unsaved: u64,
    /// Whether there was a saved state. If not, the session begins with no names at all.
    pub from_checkpoint: bool,
    /// How the worker before it ended.
    pub why: String,
}

/// A name that did not come back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostName {
    /// The name.
    pub name: String,
    /// The type of its value, where that is known.
    pub type_name: Option<String>,
    /// Why it is lost.
    pub reason: String,
}

impl SessionRestored {
    /// The session was restored once more before anybody was told of this: what was lost then is lost still.
    pub(crate) fn after(mut self, untold: &Self) -> Self {
        self.unsaved += untold.unsaved;
        self
    }
}

impl fmt::Display for SessionRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.restored[..] {
            _ if !self.from_checkpoint => f.write_str("nothing had been saved, so all names are gone")?,
            [] => f.write_str("no names are back")?,
            names if names.len() <= NAMES_TOLD => write!(f, "back: {}", names.join(", "))?,
            names => {
                let (told, more) = names.split_at(NAMES_TOLD);
                write!(f, "back: {} and {} more", told.join(", "), more.len())?;
            }
        }
        match self.unsaved {
            _ if !self.from_checkpoint => {}
            0 => {}
            1 => f.write_str("; what 1 execution made or changed since the last save is lost")?,
            many => write!(f, "; what {many} executions made or changed since the last save is lost")?,
        }
        for LostName { name, type_name, reason } in &self.lost {
            let kind = type_name.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
            write!(f, "\n    lost `{name}`{kind}: {reason}")?;
        }
        Ok(())
    }
}
