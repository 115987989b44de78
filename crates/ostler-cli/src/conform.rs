//! `ostler conform`: whether a program is a worker, check by check.

use anyhow::{Context as _, anyhow};
use ostler::{
    Codec, Stream, Transport, WorkerSpec,
    conform::{Conformance, Probes},
};

use crate::{
    args::{CodecArg, ConformArgs, TransportArg},
    exit::{Exit, Fatal},
    output::Console,
};

/// Judges a worker under each codec, and says how the program is to end.
pub(crate) async fn run(args: ConformArgs, console: Console) -> Result<Exit, Fatal> {
    let spec = spec(&args)?;
    let codecs = match args.codec {
        Some(CodecArg::Msgpack) => vec![Codec::MessagePack],
        Some(CodecArg::Json) => vec![Codec::Json],
        None => vec![Codec::MessagePack, Codec::Json],
    };
    let mut conforms = true;
    for (number, codec) in codecs.into_iter().enumerate() {
        let mut conformance = Conformance::new(spec.clone().codec(codec)).probes(probes(&args));
        if let Some(patience) = args.patience {
            conformance = conformance.patience(patience);
        }
        if let Some(words) = &args.only {
            conformance = conformance.only(words);
        }
        let report = conformance.run().await;
        let between = if number == 0 { "" } else { "\n" };
        console.write(Stream::Stdout, format!("{between}{report}")).await;
        if let (true, Some(words)) = (report.checks.is_empty(), &args.only) {
            return Err(Fatal::usage(anyhow!("no check has the words `{words}` in its name")));
        }
        conforms &= report.conforms();
    }
    console.flush().await;
    Ok(if conforms { Exit::Completed } else { Exit::Failed })
}

/// The worker, in the folder and with the environment of whoever asks.
fn spec(args: &ConformArgs) -> Result<WorkerSpec, Fatal> {
    let mut words = args.command.iter();
    let mut spec = match words.next() {
        Some(program) => WorkerSpec::command(program),
        None => WorkerSpec::python(),
    };
    for word in words {
        spec = spec.arg(word);
    }
    spec = match args.transport {
        Some(TransportArg::Stdio) => spec.transport(Transport::Stdio),
        Some(TransportArg::Socket) => spec.transport(Transport::Socket),
        None => spec,
    };
    let folder =
        std::env::current_dir().context("cannot find the working folder").map_err(Fatal::not_started)?;
    Ok(spec.inherit_env().cwd(folder))
}

fn probes(args: &ConformArgs) -> Probes {
    let with = |probes: Probes, code: &Option<String>, set: fn(Probes, String) -> Probes| match code {
        Some(code) => set(probes, code.clone()),
        None => probes,
    };
    let probes = with(Probes::new(), &args.say, Probes::say);
    let probes = with(probes, &args.value, Probes::value);
    let probes = with(probes, &args.fail, Probes::fail);
    let probes = with(probes, &args.spin, Probes::spin);
    let probes = with(probes, &args.ask, Probes::ask);
    let probes = with(probes, &args.flood, Probes::flood);
    let probes = with(probes, &args.keep, Probes::keep);
    let probes = with(probes, &args.kept, Probes::kept);
    let probes = with(probes, &args.warn, Probes::warn);
    let probes = with(probes, &args.arg, Probes::arg);
    let probes = with(probes, &args.exit, Probes::exit);
    let probes = with(probes, &args.syntax, Probes::syntax);
    let probes = with(probes, &args.mark, Probes::mark);
    let probes = with(probes, &args.die, Probes::die);
    let probes = with(probes, &args.noise, Probes::noise);
    with(probes, &args.child, Probes::child)
}
