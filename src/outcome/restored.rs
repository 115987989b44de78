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
    /// Newer states on disk that could not be used, each with the reason; the newest first. What is back is older than
    /// they are.
    pub passed_over: Vec<String>,
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
        let mut passed_over = untold.passed_over.clone();
        passed_over.retain(|why| !self.passed_over.contains(why));
        self.passed_over.extend(passed_over);
        // A state that was saved in between knows nothing of them.
        let back = |lost: &&LostName| !self.restored.contains(&lost.name);
        let known = |lost: &&LostName| self.lost.iter().any(|other| other.name == lost.name);
        let more: Vec<_> = untold.lost.iter().filter(back).filter(|lost| !known(lost)).cloned().collect();
        self.lost.extend(more);
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
        for why in &self.passed_over {
            write!(f, "\n    a newer state could not be used: {why}")?;
        }
        for LostName { name, type_name, reason } in &self.lost {
            let kind = type_name.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
            write!(f, "\n    lost `{name}`{kind}: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(restored: &[&str], lost: &[&str], unsaved: u64) -> SessionRestored {
        let lost = lost.iter().map(|name| LostName { name: (*name).into(), ..LostName::default() }).collect();
        let restored = restored.iter().map(|name| (*name).into()).collect();
        SessionRestored { restored, lost, unsaved, from_checkpoint: true, ..SessionRestored::default() }
    }

    /// A session that was restored, saved and restored again before any code ran: what the first time cost is told too.
    #[test]
    fn what_nobody_was_told_of_yet_is_told_with_the_next() {
        let first = news(&["a"], &["lock", "socket", "late"], 3);
        let second = news(&["a", "late"], &["lock"], 1).after(&first);
        assert_eq!(second, news(&["a", "late"], &["lock", "socket"], 4));
    }

    #[test]
    fn it_says_what_is_back_and_what_is_not() {
        let many: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (news, expected) in [
            (SessionRestored::default(), "nothing had been saved, so all names are gone"),
            (news(&[], &[], 0), "no names are back"),
            (news(&["x"], &[], 1), "back: x; what 1 execution made or changed since the last save is lost"),
            (
                news(&many, &[], 2),
                "back: n0, n1, n2, n3, n4, n5, n6, n7 and 2 more; what 2 executions made or changed since the last \
                 save is lost",
            ),
        ] {
            assert_eq!(news.to_string(), expected);
        }
    }
}
