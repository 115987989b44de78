//! What a tenant leaves in a real worker meets nobody else, and what that costs.

use std::time::{Duration, Instant};

use ostler::{Request, Runtime, WorkerSpec};

use crate::{python::completed, support::wait::guarded};

/// Where code that is over can have left something: a builtin, a module, the environment, a file.
const LEAVES: &str = "\
import builtins, os, json, sys
builtins.secret = json.secret = 'of a tenant'
os.environ['SECRET'] = 'of a tenant'
sys.modules['planted'] = json
open('secret', 'w').close()
";
const FINDS: &str = "\
import builtins, os, json, sys
[hasattr(builtins, 'secret'), hasattr(json, 'secret'), 'SECRET' in os.environ, 'planted' in sys.modules, os.path.exists('secret')]
";

async fn finds(runtime: &Runtime, tenant: &str) -> String {
    let request = Request::python(FINDS);
    let request = if tenant.is_empty() { request } else { request.tenant(tenant) };
    let report = runtime.run(request).await.unwrap();
    completed(&report);
    report.value().map(ToString::to_string).unwrap_or_default()
}

async fn leaves(runtime: &Runtime, tenant: &str) {
    let request = Request::python(LEAVES);
    completed(&runtime.run(if tenant.is_empty() { request } else { request.tenant(tenant) }).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f110_what_a_tenant_left_in_a_worker_meets_nobody_else() {
    guarded(async {
        let (nothing, all) = ("[False, False, False, False, False]", "[True, True, True, True, True]");
        for spec in [WorkerSpec::python(), WorkerSpec::python().preload(["json"])] {
            let runtime = Runtime::builder(spec.clone()).max_sessions(1).start().await.unwrap();
            for (one, other) in [("a", "b"), ("b", ""), ("", "c")] {
                leaves(&runtime, one).await;
                assert_eq!(finds(&runtime, one).await, all, "its own worker is kept, warm");
                assert_eq!(finds(&runtime, other).await, nothing, "{one:?} left something for {other:?}");
            }
            // A session of another tenant, and what comes behind a session.
            let session = runtime.for_tenant("d").session().await.unwrap();
            let report = session.run(FINDS).await.unwrap();
            assert_eq!(report.value().map(ToString::to_string).as_deref(), Some(nothing));
            completed(&session.run(LEAVES).await.unwrap());
            drop(session);
            assert_eq!(finds(&runtime, "d").await, nothing, "a session's worker serves nobody else");
            runtime.shutdown(Duration::ZERO).await;

            let runtime = Runtime::builder(spec).max_sessions(1).share_workers(true).start().await.unwrap();
            leaves(&runtime, "a").await;
            assert_eq!(finds(&runtime, "b").await, all, "as configured");
            runtime.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}

/// The dearest case: two tenants in turns on one worker. It prints what each turn costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f110_two_tenants_in_turns_on_one_worker_are_served_all_the_same() {
    guarded(async {
        for (name, spec, share) in [
            ("shared", WorkerSpec::python(), true),
            ("apart, plain start", WorkerSpec::python(), false),
            ("apart, zygote", WorkerSpec::python().preload(["json"]), false),
        ] {
            let runtime = Runtime::builder(spec).max_sessions(1).share_workers(share).start().await.unwrap();
            completed(&runtime.run(Request::python("1").tenant("b")).await.unwrap());
            let mut times = Vec::new();
            for turn in 0..20 {
                let begun = Instant::now();
                let request = Request::python("1").tenant(["a", "b"][turn % 2]);
                completed(&runtime.run(request).await.unwrap());
                times.push(begun.elapsed());
            }
            times.sort();
            println!(
                "{name}: a request of the other tenant takes {:?} (median of 20)",
                times[times.len() / 2]
            );
            let recycled = runtime.status().await.recycled;
            assert_eq!(recycled, if share { 0 } else { 20 }, "{name}");
            runtime.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}
