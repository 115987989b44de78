//! A pool and its workers as an operator writes them: a TOML file, and variables of the environment over it.
//!
//! One table, in `settings/keys.rs`, says which keys there are; reading, printing and suggesting all go by it.

mod error;
mod given;
mod keys;
mod kind;
mod print;
mod suggest;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

pub use self::error::{Place, SettingsError, Source};
use self::{
    given::{Given, Written},
    keys::{KEYS, Key, SECTIONS},
};
use crate::{
    config::{Dialect, PoolConfig, Transport, WorkerSpec},
    protocol::Codec,
    runtime::{Runtime, RuntimeBuilder},
};

/// A pool and its workers, as files and variables describe them (feature `config-file`).
///
/// ```
/// use ostler::Settings;
///
/// let mut settings = Settings::from_toml(
///     r#"
///     [worker]
///     python = ".venv/bin/python"
///     [pool]
///     max_sessions = 8
///     deadline = "30s"
///     [recycle]
///     max_memory = "512MiB"
///     "#,
/// )?;
/// settings.apply_env("OSTLER_", [("OSTLER_POOL_GRACE".into(), "2s".into())])?;
/// assert_eq!(settings.pool.grace, std::time::Duration::from_secs(2));
/// let builder = settings.builder();
///
/// let error = Settings::from_toml("[pool]\nmax_session = 8").unwrap_err();
/// assert_eq!(error.to_string(), "line 2, column 1: unknown key `pool.max_session`; did you mean `pool.max_sessions`?");
/// # drop(builder);
/// # Ok::<(), ostler::SettingsError>(())
/// ```
///
/// [`to_toml`](Self::to_toml) prints every key with its meaning. Times have a unit (`"30s"`, `"1m 30s"`), sizes too
/// (`"512MiB"`); `"never"` and `"none"` take a limit away. A variable is named by the prefix, the section and the key:
/// `OSTLER_POOL_MAX_SESSIONS`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// What to run as a worker: section `[worker]`.
    pub worker: WorkerSettings,
    /// How the pool behaves: sections `[pool]`, `[restart]` and `[recycle]`.
    pub pool: PoolConfig,
    /// Where each setting was given, if it was.
    places: BTreeMap<&'static str, Place>,
}

/// What to run as a worker, as it is written. [`WorkerSpec`] is what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerSettings {
    /// The interpreter that runs the shipped worker. Default: `python3`.
    pub python: PathBuf,
    /// The `node` that runs the JavaScript worker, instead of the Python worker. Default: `None`.
    pub node: Option<PathBuf>,
    /// Another program, instead of the shipped worker. Default: `None`.
    pub command: Option<PathBuf>,
    /// The arguments of `command`. Default: none.
    pub args: Vec<String>,
    /// What `command` speaks. Default: the worker protocol.
    pub dialect: Dialect,
    /// Variables of the worker's environment. Default: none.
    pub env: BTreeMap<String, String>,
    /// Whether the worker has the whole environment of the host. Default: false.
    pub inherit_env: bool,
    /// The worker's working folder. Default: `None`, a private scratch folder.
    pub cwd: Option<PathBuf>,
    /// How frames travel. Default: `None`, as [`WorkerSpec::transport`] says.
    pub transport: Option<Transport>,
    /// How messages are encoded. Default: MessagePack.
    pub codec: Codec,
    /// Modules that are imported once, in a process from which workers are then forked. Default: `None`, every worker
    /// starts on its own. See [`WorkerSpec::preload`].
    pub preload: Option<Vec<String>>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            python: "python3".into(),
            node: None,
            command: None,
            args: Vec::new(),
            dialect: Dialect::Ostler,
            env: BTreeMap::new(),
            inherit_env: false,
            cwd: None,
            transport: None,
            codec: Codec::MessagePack,
            preload: None,
        }
    }
}

impl WorkerSettings {
    /// The spec of such a worker.
    #[must_use]
    pub fn spec(&self) -> WorkerSpec {
        let Self { python, node, command, args, dialect, env, inherit_env, cwd, transport, codec, preload } =
            self;
        let spec = match (command, node) {
            (None, None) => WorkerSpec::python_at(python),
            (None, Some(node)) => WorkerSpec::node_at(node),
            (Some(program), _) => args.iter().fold(dialect.spec(program), |spec, arg| spec.arg(arg)),
        };
        let mut spec = env.iter().fold(spec, |spec, (name, value)| spec.env(name, value)).codec(*codec);
        if *inherit_env {
            spec = spec.inherit_env();
        }
        if let Some(folder) = cwd {
            spec = spec.cwd(folder);
        }
        if let Some(modules) = preload {
            spec = spec.preload(modules);
        }
        match transport {
            Some(transport) => spec.transport(*transport),
            None => spec,
        }
    }
}

impl Settings {
    /// The defaults with what this text sets.
    ///
    /// # Errors
    /// It is no TOML, names an unknown key, or a value is of the wrong kind. The error says where, and what is expected.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        settings.apply_toml(text)?;
        Ok(settings)
    }

    /// The defaults with what this file sets.
    ///
    /// # Errors
    /// The file cannot be read, or as [`from_toml`](Self::from_toml).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        settings.apply_file(path)?;
        Ok(settings)
    }

    /// Sets what this text sets, over what was set before.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml). What stands before the error may have been set.
    pub fn apply_toml(&mut self, text: &str) -> Result<(), SettingsError> {
        self.apply(text, &Source::Text)
    }

    /// Sets what this file sets, over what was set before.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file). What stands before the error may have been set.
    pub fn apply_file(&mut self, path: impl AsRef<Path>) -> Result<(), SettingsError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path)
            .map_err(|source| SettingsError::Unreadable { file: path.to_owned(), source })?;
        self.apply(&text, &Source::File(path.to_owned()))
    }

    /// Sets what these variables set, over what was set before; `std::env::vars_os()` are those of this process. Only
    /// names that begin with the prefix and a section are looked at: `OSTLER_POOL_…`, `OSTLER_WORKER_…`,
    /// `OSTLER_RESTART_…` and `OSTLER_RECYCLE_…`. Lists and tables are written as in a file: `["-u", "-x"]`.
    ///
    /// # Errors
    /// A variable names an unknown key, or its value is of the wrong kind.
    pub fn apply_env(
        &mut self,
        prefix: &str,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), SettingsError> {
        for (name, value) in vars {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            let named = |section: &str| {
                let tail = rest.strip_prefix(&section.to_ascii_uppercase())?.strip_prefix('_')?;
                Some(format!("{section}.{}", tail.to_ascii_lowercase()))
            };
            let Some(path) = SECTIONS.iter().find_map(|(section, _)| named(section)) else { continue };
            let place = Place { source: Source::Variable(name.to_owned()), position: None };
            let key = known(&path, &place)?;
            // Another text is another path.
            let Some(text) = value.to_str() else {
                let (key, expected, got) = (key.path, (key.expected)(), "a value that is no UTF-8".into());
                return Err(SettingsError::Wrong { place, key, expected, got });
            };
            let as_text = Given::Text(text.to_owned());
            if !(key.read)(self, &as_text) {
                let as_toml = Given::parse(text).unwrap_or(as_text);
                self.read(key, &as_toml, &place)?;
            }
            self.places.insert(key.path, place);
        }
        Ok(())
    }

    /// Checks that the settings can work together, as [`RuntimeBuilder::start`] will.
    ///
    /// # Errors
    /// Names the first setting that cannot, and where it was given.
    pub fn check(&self) -> Result<(), SettingsError> {
        let checked = self.pool.validate().and_then(|()| self.worker.spec().validate());
        checked.map_err(|error| {
            let place =
                KEYS.iter().find(|key| key.is_called(error.key)).and_then(|key| self.places.get(key.path));
            SettingsError::Unworkable { place: place.cloned(), error }
        })
    }

    /// A pool of these settings, to be started. The builder's methods may still change it.
    pub fn builder(&self) -> RuntimeBuilder {
        Runtime::builder(self.worker.spec()).config(self.pool.clone())
    }

    /// Where a setting was given, such as `pool.max_sessions`; `None` when it is a default.
    #[must_use]
    pub fn given(&self, key: &str) -> Option<&Place> {
        self.places.get(key)
    }

    /// These settings as a file: every key, with its meaning and its value. It reads back to the same settings.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print::file(self)
    }

    fn apply(&mut self, text: &str, source: &Source) -> Result<(), SettingsError> {
        for Written { path, value, place } in given::read(text, source)? {
            let key = known(&path, &place)?;
            self.read(key, &value, &place)?;
            self.places.insert(key.path, place);
        }
        Ok(())
    }

    fn read(&mut self, key: &'static Key, value: &Given, place: &Place) -> Result<(), SettingsError> {
        if (key.read)(self, value) {
            return Ok(());
        }
        Err(SettingsError::Wrong {
            place: place.clone(),
            key: key.path,
            expected: (key.expected)(),
            got: value.to_string(),
        })
    }
}

fn known(path: &str, place: &Place) -> Result<&'static Key, SettingsError> {
    KEYS.iter().find(|key| key.path == path).ok_or_else(|| SettingsError::Unknown {
        place: place.clone(),
        key: path.to_owned(),
        advice: suggest::instead_of(path),
    })
}
