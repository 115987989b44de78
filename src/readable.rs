//! What `{:?}` prints of our errors: what `main` prints of the one that it returns, and `expect` of the one that it finds.
//!
//! It is the sentence, and behind it those of what it came from. So no error derives `Debug`, and a new one does not
//! compile before it stands in the list here.

use std::{error::Error, fmt, iter::successors};

/// How many errors of a chain are told: one of a host's may come from itself.
const CAUSES: usize = 32;

macro_rules! readable {
    ($($(#[$feature:meta])* $($error:ident)::+,)+) => {
        $(
            $(#[$feature])*
            impl fmt::Debug for crate::$($error)::+ {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    readable(self, f)
                }
            }
        )+
    };
}

readable! {
    actor::HostGone,
    error::CallError,
    error::CheckpointError,
    error::ConfigError,
    error::NotFound,
    error::ReloadError,
    error::SpawnError,
    error::StartError,
    error::StateError,
    error::StoreError,
    error::SubmitError,
    protocol::DecodeError,
    protocol::EncodeError,
    protocol::FrameError,
    protocol::ParseIdError,
    protocol::RpcError,
    protocol::UnknownCodec,
    recording::RecordingError,
    #[cfg(feature = "serve")] serve::Stopped,
    #[cfg(feature = "config-file")] settings::SettingsError,
}

fn readable(error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut causes = successors(error.source(), |&error| error.source()).take(CAUSES).enumerate().peekable();
    if causes.peek().is_some() {
        f.write_str("\n\nCaused by:")?;
    }
    let several = error.source().is_some_and(|cause| cause.source().is_some());
    causes.try_for_each(|(number, cause)| {
        let sentence = cause.to_string().replace('\n', "\n    ");
        if several { write!(f, "\n    {number}: {sentence}") } else { write!(f, "\n    {sentence}") }
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, io, path::Path, sync::Arc};

    use crate::error::{CheckpointError, ConfigError, StartError, StoreError};

    use super::*;

    #[test]
    fn an_error_that_main_returns_is_its_sentence_and_those_of_what_it_came_from() {
        let config = ConfigError { key: "queue", why: "it is odd".into() };
        let denied = Arc::new(io::Error::from_raw_os_error(13));
        let disk = StoreError::Disk { action: "create", path: "/states".into(), source: denied };
        let damaged = CheckpointError::Foreign { got: "a\nb".into() };
        let unusable = StoreError::Unusable { path: "/states/a".into(), source: damaged.clone() };
        for (error, printed) in [
            (StartError::from(config), "invalid setting `queue`: it is odd".to_owned()),
            (
                disk.into(),
                "failed to create `/states`; what was saved there before is as it was\n\nCaused by:\n    \
                 Permission denied (os error 13)"
                    .into(),
            ),
            (
                unusable.into(),
                format!(
                    "the saved state `/states/a` cannot be used, and was left as it is\n\nCaused by:\n    {}",
                    damaged.to_string().replace('\n', "\n    ")
                ),
            ),
        ] {
            assert_eq!(format!("{error:?}"), printed);
            assert_eq!(format!("{error:#?}"), printed);
        }
    }

    #[test]
    fn several_causes_are_numbered() {
        #[derive(thiserror::Error)]
        #[error("level {0}")]
        struct Level(u8, #[source] Option<Box<Self>>);
        impl fmt::Debug for Level {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                readable(self, f)
            }
        }

        let level = Level(1, Some(Box::new(Level(2, Some(Box::new(Level(3, None)))))));
        assert_eq!(format!("{level:?}"), "level 1\n\nCaused by:\n    0: level 2\n    1: level 3");
    }

    /// The names of all public errors, and those that derive `Debug` as well.
    fn errors(folder: &Path, names: &mut BTreeSet<String>, derived: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                errors(&entry, names, derived);
                continue;
            }
            let text = fs::read_to_string(&entry).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let by_hand = code.split("impl std::error::Error for ").skip(1);
            names.extend(by_hand.filter_map(|rest| rest.split([' ', '{']).next()).map(Into::into));
            for derive in code.split("#[derive(").skip(1).filter(|derive| is_error(derive)) {
                let public = derive.lines().find_map(|line| {
                    line.strip_prefix("pub enum ").or_else(|| line.strip_prefix("pub struct "))
                });
                let Some(name) = public.and_then(|rest| rest.split(['(', ' ', ';']).next()) else { continue };
                names.insert(name.into());
                if derive.lines().next().is_some_and(|line| line.contains("Debug")) {
                    derived.push(format!("{name} in {}", entry.display()));
                }
            }
        }
    }

    fn is_error(derive: &str) -> bool {
        derive.lines().next().is_some_and(|line| line.contains("thiserror::Error"))
    }

    #[test]
    fn every_error_of_the_library_reads_well() {
        let (mut names, mut derived) = (BTreeSet::new(), Vec::new());
        errors(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names, &mut derived);
        assert!(
            derived.is_empty(),
            "take `Debug` out of `derive`, and list the type in `readable!`: {derived:?}"
        );
        let this = include_str!("readable.rs");
        let list = this.split("\nreadable! {").nth(1).unwrap().split('}').next().unwrap();
        let listed = list.lines().filter_map(|line| line.rsplit("::").next()?.strip_suffix(','));
        assert_eq!(listed.map(str::to_owned).collect::<BTreeSet<_>>(), names);
        assert!(names.len() > 15, "{names:?}");
    }
}
