//! Typing in the terminal: a line editor in a thread of its own, since it waits for keys.

use std::{
    borrow::Cow,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use rustyline::{
    Cmd, ColorMode, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler,
    ExternalPrinter, Helper, KeyCode, KeyEvent, Modifiers, Movement, RepeatCount,
    completion::{Completer, FilenameCompleter, Pair},
    config::Configurer as _,
    error::ReadlineError,
    highlight::{CmdKind, Highlighter},
    hint::Hinter,
    history::DefaultHistory,
    validate::Validator,
};
use tokio::sync::oneshot;

use crate::repl::{
    command::COMMANDS,
    complete::{Language, Scanner},
};

/// Statements that are remembered.
const HISTORY_MAX: usize = 10_000;
/// One level of indentation.
const LEVEL: &str = "    ";
/// Its length, as the editor counts.
const LEVEL_LEN: u8 = 4;

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// This text.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D.
    End,
    /// The terminal does not work any more.
    Broken(String),
}

/// What is to be typed.
#[derive(Debug)]
enum Ask {
    /// A statement, which may have many lines.
    Statement,
    /// One line for the code that runs.
    Line { prompt: String, password: bool },
}

/// Asks the person at the terminal. One question at a time: ask the next when the one before is answered.
pub(crate) struct Keyboard {
    questions: mpsc::SyncSender<(Ask, oneshot::Sender<Typed>)>,
    printer: Box<dyn ExternalPrinter + Send>,
}

impl fmt::Debug for Keyboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyboard").finish_non_exhaustive()
    }
}

impl Keyboard {
    /// Starts the thread that edits. It ends with the handle, or with the program.
    pub(crate) fn start(language: Language, history: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut editor = Lines::new(language, history)?;
        let printer = Box::new(editor.editor.create_external_printer()?);
        let (questions, asked) = mpsc::sync_channel::<(Ask, oneshot::Sender<Typed>)>(1);
        thread::Builder::new().name("keyboard".into()).spawn(move || {
            while let Ok((ask, answer)) = asked.recv() {
                // Whoever asked may have gone.
                let _ = answer.send(editor.ask(ask));
            }
        })?;
        Ok(Self { questions, printer })
    }

    /// Asks for a statement.
    pub(crate) fn statement(&self) -> impl Future<Output = Typed> + use<> {
        self.ask(Ask::Statement)
    }

    /// Asks for a line of input.
    pub(crate) fn line(&self, prompt: String, password: bool) -> impl Future<Output = Typed> + use<> {
        self.ask(Ask::Line { prompt, password })
    }

    /// Prints above what is being typed.
    pub(crate) fn print(&mut self, text: String) {
        // A terminal that is gone is noticed by the question that is open.
        let _ = self.printer.print(text);
    }

    fn ask(&self, ask: Ask) -> impl Future<Output = Typed> + use<> {
        let (answer, typed) = oneshot::channel();
        let asked = self.questions.try_send((ask, answer));
        async move {
            let broken = || Typed::Broken("the editor is gone".into());
            if asked.is_err() { broken() } else { typed.await.unwrap_or_else(|_gone| broken()) }
        }
    }
}

/// The editor, and how statements are put together from its lines.
struct Lines {
    editor: Editor<Look, DefaultHistory>,
    language: Language,
    history: Option<PathBuf>,
}

impl Lines {
    fn new(language: Language, history: Option<PathBuf>) -> anyhow::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY_MAX)?
            .history_ignore_dups(true)?
            .indent_size(LEVEL_LEN)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Look::default()));
        let tab = KeyEvent(KeyCode::Tab, Modifiers::NONE);
        editor.bind_sequence(tab, EventHandler::Conditional(Box::new(Tab)));
        let backspace = KeyEvent(KeyCode::Backspace, Modifiers::NONE);
        editor.bind_sequence(backspace, EventHandler::Conditional(Box::new(Outdent)));
        if let Some(file) = &history {
            // The first time there is none.
            let _ = editor.load_history(file);
        }
        Ok(Self { editor, language, history })
    }

    fn ask(&mut self, ask: Ask) -> Typed {
        match ask {
            Ask::Statement => self.statement().unwrap_or_else(Typed::from),
            Ask::Line { prompt, password } => {
                self.hide(password);
                let line = self.editor.readline(&prompt).map_or_else(Typed::from, Typed::Text);
                self.hide(false);
                line
            }
        }
    }

    fn statement(&mut self) -> Result<Typed, ReadlineError> {
        let mut scanner = Scanner::new(self.language);
        let mut text = String::new();
        loop {
            let (prompt, indent) = match text.is_empty() {
                true => (">>> ", String::new()),
                false => ("... ", " ".repeat(scanner.indent())),
            };
            let line = match self.editor.readline_with_initial(prompt, (&indent, "")) {
                Ok(line) => line,
                // As an end of file does in a file: it ends the block.
                Err(ReadlineError::Eof) if !text.is_empty() => break,
                Err(error) => return Err(error),
            };
            if text.is_empty() && line.trim().is_empty() {
                continue;
            }
            // What was pasted, or comes from the history, has many lines.
            line.split('\n').for_each(|line| scanner.read(line));
            text.push_str(&line);
            text.push('\n');
            if scanner.complete() {
                break;
            }
        }
        self.remember(text.trim_end());
        Ok(Typed::Text(text))
    }

    fn remember(&mut self, text: &str) {
        // The history is a convenience: a disk that is full must not end the session.
        let _ = self.editor.add_history_entry(text);
        let Some(file) = &self.history else { return };
        if prepare(file).and_then(|()| self.editor.append_history(file).map_err(io::Error::other)).is_err() {
            tracing::debug!(file = %file.display(), "history not written");
        }
    }

    fn hide(&mut self, hidden: bool) {
        if let Some(look) = self.editor.helper_mut() {
            look.hidden = hidden;
        }
        // Without colours the editor would not ask how the line looks.
        self.editor.set_color_mode(if hidden { ColorMode::Forced } else { ColorMode::Enabled });
    }
}

fn prepare(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

impl From<ReadlineError> for Typed {
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else it is, the terminal does not work")]
    fn from(error: ReadlineError) -> Self {
        match error {
            ReadlineError::Eof => Self::End,
            ReadlineError::Interrupted => Self::Interrupted,
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Where statements are remembered.
pub(crate) fn history_file() -> Option<PathBuf> {
    Some(state_folder()?.join("history"))
}

/// What the program remembers: in the user's folder for such things.
pub(crate) fn state_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("ostler"))
}

/// How what is typed looks.
#[derive(Default)]
struct Look {
    hidden: bool,
    files: FilenameCompleter,
}

impl Highlighter for Look {
    fn highlight<'l>(&self, line: &'l str, _pos: usize) -> Cow<'l, str> {
        if self.hidden { "*".repeat(line.chars().count()).into() } else { line.into() }
    }

    fn highlight_char(&self, _line: &str, _pos: usize, kind: CmdKind) -> bool {
        self.hidden && kind != CmdKind::MoveCursor
    }
}

/// Of commands, and of the files that they name; Python is not ours to complete.
impl Completer for Look {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..at];
        if typed.starts_with(":load ") || typed.starts_with(":save ") {
            return self.files.complete_path(typed, at);
        }
        let names = COMMANDS.iter().map(|(name, _)| *name).filter(|name| name.starts_with(typed));
        let pair = |name: &str| Pair { display: name.into(), replacement: format!("{name} ") };
        Ok((0, names.map(pair).collect()))
    }
}

impl Hinter for Look {
    type Hint = String;
}

impl Validator for Look {}
impl Helper for Look {}

/// Tab completes a command, and indents anything else.
struct Tab;

impl ConditionalEventHandler for Tab {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let completes = context.line().starts_with(':');
        Some(if completes { Cmd::Complete } else { Cmd::Insert(1, LEVEL.into()) })
    }
}

/// Backspace takes a whole level away, where only spaces are before it.
struct Outdent;

impl ConditionalEventHandler for Outdent {
    fn handle(&self, _: &Event, count: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let before = context.line()[..context.pos()].rsplit('\n').next().unwrap_or_default();
        let spaces = before.len();
        let level = spaces > 0 && spaces.is_multiple_of(LEVEL.len()) && before.chars().all(|c| c == ' ');
        (count == 1 && level).then_some(Cmd::Dedent(Movement::WholeLine))
    }
}
