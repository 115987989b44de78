//! What is typed with a colon before it: commands to the program, not to Python.

use std::{fs, path::Path};

use anyhow::Context as _;
use ostler::{Checkpoint, NameFailure, Request, Session, StateError, Stream};

use super::{
    home,
    past::{BRANCHES_MAX, Branch, Past, State, short},
    session::{Flow, Repl},
};

/// The commands, for the help and for completion.
pub(super) const COMMANDS: [(&str, &str); 8] = [
    (":vars", "the names of the session, with type, size and value"),
    (":undo", "go back to the state before the last statement; `:undo off` keeps no states, `:undo on` does"),
    (":fork", "go on in a copy of the session, as another branch"),
    (":branch", "the branches; `:branch N` goes on in that one, `:branch drop N` ends it"),
    (":save", "save a session that has a name (--session NAME); `:save FILE` saves any into a file"),
    (":load", "bring the names in a file back: `:load FILE`"),
    (":help", "this list"),
    (":quit", "end, as Ctrl-D"),
];
/// Takes all names out of a session.
const EMPTY: &str = "(lambda names: [names.pop(name) for name in list(names) if not name.startswith('__')] and None)(globals())";
/// Characters of a value.
const VALUE_MAX: usize = 60;
/// The widest name that others line up with.
const NAME_MAX: usize = 24;

impl Repl {
    /// Performs the command that a statement is, if it is one.
    pub(crate) async fn command(&mut self, statement: &str) -> Option<Flow> {
        let statement = statement.trim().strip_prefix(':')?;
        let (command, rest) = statement.split_once(char::is_whitespace).unwrap_or((statement, ""));
        match (command, rest.trim()) {
            ("vars", "") => self.vars().await,
            ("save", "") => self.save().await,
            ("save", file) => self.save_as(file.as_ref()).await,
            ("load", file) if !file.is_empty() => self.load(file.as_ref()).await,
            ("load", _) => self.screen.say("say which file: :load FILE").await,
            ("undo", "") => self.undo().await,
            ("undo", "on") => self.past.keeps = true,
            ("undo", "off") => self.past = Past::new(false),
            ("fork", "") => self.fork().await,
            ("branch", "") => self.branches().await,
            ("branch", which) => self.branch(which).await,
            ("help", "") => self.help().await,
            ("quit" | "exit", "") => return Some(Flow::Leave(self.worst)),
            _ => self.screen.say(&format!("there is no command `:{statement}`; see :help")).await,
        }
        Some(Flow::Go)
    }

    async fn help(&mut self) {
        let list = COMMANDS.iter().map(|(name, about)| format!("{name:<8} {about}\n")).collect::<String>();
        self.screen.write(Stream::Stdout, list).await;
    }

    async fn vars(&mut self) {
        let names = match self.session().vars().await {
            Ok(names) => names,
            Err(error) => return self.screen.say(&format!("the names cannot be told: {error}")).await,
        };
        let shown = |name: &&ostler::Variable| !name.name.starts_with('_') && name.type_name != "module";
        let mut list: Vec<_> = names.list.iter().filter(shown).collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        let width = |of: fn(&ostler::Variable) -> &str| {
            list.iter().map(|name| of(name).chars().count()).max().unwrap_or(0).min(NAME_MAX)
        };
        let (wide, kind) = (width(|it| &it.name), width(|it| &it.type_name));
        let row = |it: &&ostler::Variable| {
            let size = it.size.map(bytes).unwrap_or_default();
            let repr = cut(&it.repr.replace('\n', " "));
            format!("{:<wide$}  {:<kind$}  {size:>7}  {repr}\n", it.name, it.type_name)
        };
        let mut page: String = list.iter().map(row).collect();
        if list.is_empty() {
            page.push_str("no names\n");
        }
        if names.total > names.list.len() {
            page.push_str(&format!("and {} more\n", names.total - names.list.len()));
        }
        self.screen.write(Stream::Stdout, page).await;
    }

    async fn save(&mut self) {
        if self.session().name().is_none() {
            return self
                .screen
                .say("this session has no name: say which file, as in :save FILE, or start with --session NAME")
                .await;
        }
        let told = match self.session().save().await {
            Ok(generation) => format!("saved, generation {generation}"),
            Err(error) => format!("not saved: {error}"),
        };
        self.screen.say(&told).await;
    }

    async fn save_as(&mut self, file: &Path) {
        let told = match self.session().checkpoint().await {
            Ok(saved) => match write(file, &saved) {
                Ok(()) => {
                    let lost: Vec<_> = saved.skipped().collect();
                    let mut told = format!("saved {} in `{}`", home::some(saved.names()), file.display());
                    for name in lost {
                        told.push_str(&format!("\n    not `{}`: {}", name.name, name.reason));
                    }
                    told
                }
                Err(error) => format!("not saved: {error:#}"),
            },
            Err(error) => format!("not saved: {error}"),
        };
        self.screen.say(&told).await;
    }

    async fn load(&mut self, file: &Path) {
        let read = || -> anyhow::Result<Checkpoint> {
            let bytes = fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
            Checkpoint::from_bytes(bytes).with_context(|| format!("cannot load `{}`", file.display()))
        };
        let saved = match read() {
            Ok(saved) => saved,
            Err(error) => return self.screen.say(&format!("not loaded: {error:#}")).await,
        };
        self.keep(&format!(":load {}", file.display())).await;
        let told = match self.session().restore(&saved).await {
            Ok(restored) => home::told(&format!("`{}` is loaded", file.display()), &restored),
            Err(error) => format!("not loaded: {error}"),
        };
        self.screen.say(&told).await;
    }

    /// Keeps the state before something that changes it.
    pub(super) async fn keep(&mut self, statement: &str) {
        let Some(session) = &self.session else { return };
        if let Some(told) = self.past.keep(session, statement).await {
            self.screen.say(&told).await;
        }
    }

    async fn undo(&mut self) {
        let Some((statement, state)) = self.past.pop() else {
            let told = if self.past.keeps {
                "there is nothing to undo"
            } else {
                "no states are kept; see `:undo on`"
            };
            return self.screen.say(told).await;
        };
        let statement = short(&statement);
        let (session, lost) = match state {
            State::Copy(copy) if copy.inspect().await.is_some() => (*copy, Vec::new()),
            State::Copy(_) => {
                return self
                    .screen
                    .say(&format!("the state before `{statement}` is gone: its worker has ended"))
                    .await;
            }
            State::Saved(saved) => match self.home.lease_from(&saved).await {
                Ok((session, restored)) => (session, restored.lost),
                Err(error) => {
                    return self
                        .screen
                        .say(&format!("the state before `{statement}` did not come back: {error}"))
                        .await;
                }
            },
            State::Missing(why) => {
                return self.screen.say(&format!("`{statement}` cannot be undone: {why}")).await;
            }
        };
        let lost = match self.session().name().is_some() {
            false => {
                self.session = Some(session);
                lost
            }
            true => match take_over(self.session(), &session).await {
                Ok(more) => lost.into_iter().chain(more).collect(),
                Err(error) => {
                    return self
                        .screen
                        .say(&format!("the state before `{statement}` did not come back: {error}"))
                        .await;
                }
            },
        };
        let mut told = match self.past.len() {
            0 => format!("undone: `{statement}`"),
            more => format!("undone: `{statement}`; {more} more can be"),
        };
        for name in lost {
            told.push_str(&format!("\n    lost `{}`: {}", name.name, name.reason));
        }
        self.screen.say(&told).await;
    }

    async fn fork(&mut self) {
        if self.others.len() + 1 >= BRANCHES_MAX {
            let told = format!("there are {BRANCHES_MAX} branches already; end one with `:branch drop N`");
            return self.screen.say(&told).await;
        }
        let copy = match self.session().fork().await {
            Ok(copy) => copy,
            Err(error) => return self.screen.say(&error.to_string()).await,
        };
        let from = self.number;
        let taken = |number: &usize| *number == from || self.others.iter().any(|it| it.number == *number);
        let number = (1..).find(|number| !taken(number)).unwrap_or_default();
        self.switch(Branch { number, session: copy, past: Past::new(self.past.keeps) });
        self.screen.say(&format!("branch {number} begins here; `:branch {from}` goes back")).await;
    }

    /// Goes on in this branch, and keeps the one in use.
    fn switch(&mut self, to: Branch) {
        let past = std::mem::replace(&mut self.past, to.past);
        let number = std::mem::replace(&mut self.number, to.number);
        if let Some(session) = self.session.replace(to.session) {
            self.others.push(Branch { number, session, past });
        }
    }

    async fn branches(&mut self) {
        let mut numbers: Vec<_> = self.others.iter().map(|it| it.number).chain([self.number]).collect();
        numbers.sort_unstable();
        let mark = |number| if number == self.number { '*' } else { ' ' };
        let list =
            numbers.into_iter().map(|number| format!("{} {number}\n", mark(number))).collect::<String>();
        self.screen.write(Stream::Stdout, list).await;
    }

    async fn branch(&mut self, which: &str) {
        let (drops, which) = which.strip_prefix("drop ").map_or((false, which), |which| (true, which.trim()));
        let number = which.parse().unwrap_or(0);
        let place = self.others.iter().position(|it| it.number == number);
        let told = match place {
            Some(place) if drops => {
                drop(self.others.remove(place));
                format!("branch {number} has ended")
            }
            Some(place) => {
                let to = self.others.remove(place);
                self.switch(to);
                format!("branch {number}")
            }
            None if number == self.number && drops => {
                "this branch is in use; go on in another one first".into()
            }
            None if number == self.number => format!("branch {number}"),
            None => format!("there is no branch `{which}`; see :branch"),
        };
        self.screen.say(&told).await;
    }
}

/// Gives a session that has a name the state of another: the name is not to be had for another session as long as this
/// one lives. Returns what is lost.
async fn take_over(named: &Session, from: &Session) -> Result<Vec<NameFailure>, StateError> {
    let saved = from.checkpoint().await?;
    named.run(Request::python(EMPTY).label("undo")).await?;
    Ok(named.restore(&saved).await?.lost)
}

/// Writes the whole file or leaves what is there.
fn write(file: &Path, saved: &Checkpoint) -> anyhow::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let written = fs::write(&beside, saved.to_bytes()).and_then(|()| fs::rename(&beside, file));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.with_context(|| format!("cannot write `{}`", file.display()))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn bytes(size: u64) -> String {
    match size {
        0..1_000 => format!("{size} B"),
        1_000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size as f64 / 1e6),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}
