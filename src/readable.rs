//! The errors of this crate whose `Debug` is their sentence: see [`ostler_protocol::readable!`].

ostler_protocol::readable! {
    crate::actor::HostGone,
    crate::error::CallError,
    crate::error::CheckpointError,
    crate::error::ConfigError,
    crate::error::NotFound,
    crate::error::ReloadError,
    crate::error::SpawnError,
    crate::error::StartError,
    crate::error::StateError,
    crate::error::StoreError,
    crate::error::SubmitError,
    crate::recording::RecordingError,
    #[cfg(feature = "config-file")]
    crate::settings::SettingsError,
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use crate::error::{CheckpointError, ConfigError, StartError, StoreError};

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
}
