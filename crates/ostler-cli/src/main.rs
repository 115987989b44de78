//! The program `ostler`: command line in, plain output, progress or JSON lines and an exit code out.
//!
//! It uses the library as any embedder would: nothing here knows how a worker is run.

mod args;
mod bar;
mod call;
mod config;
mod conform;
mod doctor;
mod exit;
mod help;
mod input;
mod monitor;
mod output;
mod pool;
mod repl;
mod replay;
mod run;
mod serve;
mod signals;
mod top;
mod words;

use std::process::{self, ExitCode};

use anyhow::Context as _;
use clap::Parser as _;

use crate::{
    args::{Cli, Command},
    exit::{Exit, Fatal},
    output::Console,
};

fn main() -> ExitCode {
    // Usage errors, `--help` and `--version` end here, with 2 and 0.
    let cli = Cli::parse();
    trace(cli.verbose);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads");
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(command(cli)),
        Err(error) => {
            report(&error);
            Exit::NotStarted
        }
    };
    input::restore_terminal();
    // Not by returning: a thread may be in a read of standard input that nothing calls off.
    process::exit(exit.code().into());
}

async fn command(cli: Cli) -> Exit {
    let verbose = cli.verbose > 0;
    if let Err(error) = signals::survive_large_files() {
        report(&anyhow::Error::new(error).context("cannot listen to signals"));
        return Exit::NotStarted;
    }
    let done = match Console::start().context("cannot start threads").map_err(Fatal::not_started) {
        Err(fatal) => Err(fatal),
        Ok(console) => {
            let done = perform(cli.command, verbose, console.clone()).await;
            console.flush().await;
            // What went well went nowhere.
            done.map(|exit| match (exit, console.broken()) {
                (Exit::Completed | Exit::OutputClosed, Some(broken)) => broken,
                (exit, _) => exit,
            })
        }
    };
    done.unwrap_or_else(|fatal| {
        report(&fatal.why);
        fatal.exit
    })
}

async fn perform(command: Command, verbose: bool, console: Console) -> Result<Exit, Fatal> {
    match command {
        Command::Run(args) => run::run(args, verbose, console).await,
        Command::Serve(args) => serve::run(args, console).await,
        Command::Call(args) => call::run(args, console).await,
        Command::Repl(args) => repl::run(args, console).await,
        Command::Doctor(args) => doctor::run(args, console).await,
        Command::Top(args) => top::run(args, console).await,
        Command::Sessions(args) => repl::home::list(args, console).await,
        Command::Replay(args) => replay::run(args, console).await,
        Command::Conform(args) => conform::run(args, console).await,
        Command::Config(args) => config::run(args, console).await,
    }
}

#[expect(clippy::print_stderr, reason = "the last words of the program, when nothing else writes any more")]
fn report(error: &anyhow::Error) {
    eprintln!("ostler: {error:#}");
}

/// Shows on stderr what the pool does.
fn trace(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false).init();
}
