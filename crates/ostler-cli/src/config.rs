//! `ostler config`: the settings, printed and checked.

use ostler::Stream;

use crate::{
    args::ConfigArgs,
    exit::{Exit, Fatal},
    output::Console,
    pool,
};

/// What stands above the printed settings.
const HEADER: &str = "\
# Settings of ostler, for --config FILE or the variable OSTLER_CONFIG. Every key may be left out.
#
# Variables of the environment come over this file, and are named by the section and the key:
# OSTLER_POOL_MAX_SESSIONS=4. Options of the command line come over both.

";

/// Prints or checks, and says how the program is to end.
pub(crate) async fn run(args: ConfigArgs, console: Console) -> Result<Exit, Fatal> {
    match args.check {
        None => {
            console.write(Stream::Stdout, format!("{HEADER}{}", pool::defaults().to_toml())).await;
        }
        Some(file) => {
            let settings = pool::from_file_and_environment(Some(&file)).map_err(Fatal::usage)?;
            settings.check().map_err(Fatal::usage)?;
            console.write(Stream::Stdout, format!("{}: the settings can work\n", file.display())).await;
        }
    }
    console.flush().await;
    Ok(Exit::Completed)
}
