//! `ostler repl`: one stateful session, typed into line by line.

mod command;
mod complete;
pub(crate) mod editor;
pub(crate) mod home;
mod past;
mod screen;
mod session;
mod waits;

use std::{io::IsTerminal as _, path::Path};

use ostler::Request;

use self::{
    complete::{Language, Statements},
    editor::{Keyboard, Typed},
    home::Home,
    screen::Screen,
    session::{Flow, Repl},
};
use crate::{
    args::ReplArgs,
    exit::{Exit, Fatal},
    input::{self, Input},
    monitor,
    output::Console,
    pool,
    signals::Signals,
};

/// Where lines come from.
#[derive(Debug)]
enum Reader {
    /// A person.
    Terminal(Keyboard),
    /// A pipe or a file.
    Pipe(Input),
}

/// Runs the session, and says how the program is to end.
pub(crate) async fn run(args: ReplArgs, console: Console) -> Result<Exit, Fatal> {
    let cwd = pool::working_folder()?;
    let startup =
        args.startup.as_deref().map(|file| startup(file, &cwd)).transpose().map_err(Fatal::usage)?;
    let mut signals = Signals::listen().map_err(Fatal::not_started)?;
    let settings = pool::settings(&args.pool, &cwd)?;
    let language = match &settings.worker.node {
        Some(_) => Language::JavaScript,
        None => Language::Python,
    };
    if let (Language::JavaScript, Some(name)) = (language, &args.session) {
        let why = anyhow::anyhow!("a JavaScript session cannot be saved as `{name}`; leave `--session` out");
        return Err(Fatal::usage(why));
    }
    let builder = settings.builder().max_sessions(past::SESSIONS_MAX);
    let builder = Home::prepare(builder, args.session.as_deref(), &args.state).map_err(Fatal::usage)?;
    let runtime = tokio::select! {
        runtime = builder.start() => runtime.map_err(pool::not_started)?,
        signal = signals.next() => return Ok(Exit::Signal(signal)),
    };
    let _monitor = monitor::serve(&args.monitor, &runtime)?;
    let typed = std::io::stdin().is_terminal();
    let reader = if typed {
        input::remember_terminal();
        Reader::Terminal(Keyboard::start(language, editor::history_file()).map_err(Fatal::not_started)?)
    } else {
        Reader::Pipe(Input::start().map_err(Fatal::not_started)?)
    };
    let home = Home::new(runtime.clone(), args.session);
    let (session, restored) = home.lease().await.map_err(Fatal::not_started)?;
    let screen = Screen::new(console.clone());
    // What the startup file made is in the state already.
    let startup = startup.filter(|_| restored.is_none());
    let grace = settings.pool.grace;
    let mut repl = Repl::new(home, session, reader, screen, signals, startup, grace);
    repl.past.keeps &= language == Language::Python;
    if let Some(restored) = restored {
        repl.screen.say(&restored).await;
    }
    let exit = serve(&mut repl, language, typed).await;
    let exit = repl.end().await.unwrap_or(exit);
    console.flush().await;
    drop(repl);
    runtime.shutdown(settings.pool.grace).await;
    Ok(exit)
}

async fn serve(repl: &mut Repl, language: Language, typed: bool) -> Exit {
    if typed {
        repl.greet(language).await;
    }
    if let Flow::Leave(exit) = repl.start_up().await {
        return exit;
    }
    if typed { converse(repl).await } else { read_all(repl, language).await }
}

/// Asks and runs until the person leaves.
async fn converse(repl: &mut Repl) -> Exit {
    loop {
        let flow = match repl.ask().await {
            Ok(Typed::Text(statement)) => repl.run(&statement).await,
            Ok(Typed::Interrupted) => Flow::Go,
            Ok(Typed::End) => return Exit::Completed,
            Ok(Typed::Broken(why)) => {
                repl.screen.say(&format!("the terminal cannot be read: {why}")).await;
                return Exit::Failed;
            }
            Err(exit) => return exit,
        };
        if let Flow::Leave(exit) = flow {
            return exit;
        }
    }
}

/// Runs every statement of the input.
async fn read_all(repl: &mut Repl, language: Language) -> Exit {
    let mut statements = Statements::new(language);
    loop {
        let (done, end) = match repl.next_line().await {
            Ok(Some(line)) => (statements.take(&line), false),
            Ok(None) => (statements.finish().into_iter().collect(), true),
            Err(exit) => return exit,
        };
        for statement in done {
            if let Flow::Leave(exit) = repl.run(&statement).await {
                return exit;
            }
        }
        if end {
            return repl.worst;
        }
    }
}

fn startup(file: &Path, cwd: &Path) -> anyhow::Result<Request> {
    let code = std::fs::read_to_string(file)
        .map_err(|error| anyhow::anyhow!("cannot read startup file `{}`: {error}", file.display()))?;
    Ok(Request::python(code).filename(cwd.join(file).to_string_lossy()).silent(true).label("startup"))
}
