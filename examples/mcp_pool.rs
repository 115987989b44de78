//! One process of an MCP server answers 100 requests, where a proxy would start 100 processes.
//!
//! `cargo run --example mcp_pool`, or with a server of your own: `cargo run --example mcp_pool -- uvx mcp-server-time`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "an example may look at the clock")]

use std::{
    collections::BTreeSet,
    env,
    time::{Duration, Instant},
};

use ostler::{Event, Request, Runtime, Value, WorkerSpec};

const REQUESTS: u32 = 100;
const PROCESSES: u32 = 5;

/// A small MCP server, for those who have none at hand.
const SERVER: &str = r#"
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        version = message.get("params", {}).get("protocolVersion")
        result = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "small", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"#;

fn server() -> WorkerSpec {
    let mut command = env::args_os().skip(1);
    match command.next() {
        Some(program) => command.fold(WorkerSpec::mcp(program), WorkerSpec::arg).inherit_env(),
        None => WorkerSpec::mcp("python3").arg("-c").arg(SERVER),
    }
}

/// The process that answered a request.
async fn ask(runtime: &Runtime) -> Result<Option<u32>, Box<dyn std::error::Error>> {
    let mut call = runtime.execute(Request::rpc("ping", Value::None)).await?;
    let mut answered_by = None;
    while let Some(event) = call.next().await {
        if let Event::Started { pid, .. } = event {
            answered_by = pid;
        }
    }
    let outcome = call.outcome().await;
    assert!(outcome.is_completed(), "{outcome}");
    Ok(answered_by)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder(server()).max_sessions(1).start().await?;
    let mut pids = BTreeSet::new();
    let began = Instant::now();
    for _ in 0..REQUESTS {
        pids.insert(ask(&runtime).await?);
    }
    let pooled = began.elapsed() / REQUESTS;
    runtime.shutdown(Duration::from_secs(1)).await;

    let mut singles = BTreeSet::new();
    let mut single = Duration::ZERO;
    for _ in 0..PROCESSES {
        let began = Instant::now();
        let runtime = Runtime::builder(server()).max_sessions(1).start().await?;
        singles.insert(ask(&runtime).await?);
        single += began.elapsed() / PROCESSES;
        runtime.shutdown(Duration::from_secs(1)).await;
    }

    println!("{REQUESTS} requests, {} process: {pooled:?} a request", pids.len());
    println!("{PROCESSES} requests, {} processes: {single:?} a request", singles.len());
    println!("the pool has {:.0} times the throughput", single.as_secs_f64() / pooled.as_secs_f64());
    // Processes, not times: a hundred requests to one, where each had one of its own.
    assert_eq!((pids.len(), singles.len()), (1, PROCESSES as usize));
    assert!(REQUESTS as usize / pids.len() >= 10);
    Ok(())
}
