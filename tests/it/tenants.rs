//! Tenants: whose code a worker has run, and what it costs to keep them apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ostler::{Outcome, Request, SubmitError, Value};
use rand::{Rng as _, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{
    support::{Pool, guarded},
    workers::{first_does, polite},
};

/// Which worker ran it.
fn worker(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Completed(completion) => completion.value.as_ref().and_then(Value::as_u64).unwrap(),
        other => panic!("{other}"),
    }
}

async fn runs_for(pool: &Pool, tenant: &str) -> u64 {
    worker(pool.runtime.run(Request::python("worker").tenant(tenant)).await.unwrap().outcome)
}

/// In every direction: named and named, named and none, stateless and leased.
#[tokio::test(start_paused = true)]
async fn a_worker_serves_one_tenant_and_then_no_other() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let mut served = BTreeMap::new();
        for tenant in ["a", "a", "b", "a", "b", "b"] {
            let worker = runs_for(&pool, tenant).await;
            assert_eq!(*served.entry(worker).or_insert(tenant), tenant, "worker {worker}");
        }
        let unnamed = worker(pool.outcome("worker").await);
        assert!(!served.contains_key(&unnamed), "{unnamed} of {served:?}");
        let session = pool.runtime.for_tenant("c").session().await.unwrap();
        let leased = worker(session.run("worker").await.unwrap().outcome);
        assert!(leased > unnamed, "a session of its own");
        drop(session);
        let alone = pool.runtime.for_tenant("d");
        let first = worker(alone.run("worker").await.unwrap().outcome);
        assert_eq!(worker(alone.run("worker").await.unwrap().outcome), first, "its own is kept");
        assert_eq!(runs_for(&pool, "d").await, first, "the same tenant, however it is said");
        let session = alone.session().await.unwrap();
        assert_eq!(worker(session.run("worker").await.unwrap().outcome), first);
        drop(session);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn workers_are_shared_where_that_is_configured() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.share_workers(true)).await;
        for tenant in ["a", "b", "a"] {
            assert_eq!(runs_for(&pool, tenant).await, 1);
        }
        assert_eq!(worker(pool.outcome("worker").await), 1);
        assert_eq!(pool.status().await.recycled, 0);
        pool.close().await;
    })
    .await;
}

/// A request whose worker died before it started the code is still its tenant's: the other idle worker is not for it.
#[tokio::test(start_paused = true)]
async fn a_request_that_lost_its_worker_stays_its_tenants() {
    guarded(async {
        let workers = ostler::testing::ScriptedSpawner::new(|mut stage: ostler::testing::Stage| async move {
            if stage.number() != 2 {
                return crate::workers::serve(stage).await;
            }
            stage.ready().await;
            let _unstarted = stage.next_execute().await;
            ostler::Exit::Signal(9)
        });
        let pool = Pool::start_with(workers, |it| it.max_sessions(2).min_idle(2)).await;
        pool.eventually("both are there", |status| status.idle == 2).await;
        assert_eq!(runs_for(&pool, "a").await, 1);
        assert_eq!(runs_for(&pool, "b").await, 3, "not where the code of the other has run");
        assert_eq!(pool.status().await.totals.requeued, 1);
        pool.close().await;
    })
    .await;
}

/// Who waits is served, whatever the others do; and no worker is replaced for nothing.
#[tokio::test(start_paused = true)]
async fn many_tenants_on_few_workers_are_all_served_apart() {
    for (sessions, tenants, share) in [(1, 3, false), (3, 2, false), (4, 9, false), (4, 9, true)] {
        guarded(async {
            const REQUESTS: usize = 300;
            let slow = |number: usize| async move {
                tokio::time::sleep(Duration::from_millis(number as u64 % 40)).await;
                Ok(())
            };
            let pool = Pool::start_with(polite().before_start(slow), |it| {
                it.max_sessions(sessions).queue(1_000).tenant_queue(1_000).share_workers(share)
            })
            .await;
            let mut chance = StdRng::seed_from_u64(7);
            let mut runs = JoinSet::new();
            for _ in 0..REQUESTS {
                let tenant = chance.random_range(0..=tenants);
                let wait = Duration::from_millis(chance.random_range(0..2_000));
                let runtime = pool.runtime.clone();
                runs.spawn(async move {
                    tokio::time::sleep(wait).await;
                    let request = Request::python("worker").no_deadline();
                    // The last one is nobody's name.
                    let request = if tenant < tenants { request.tenant(tenant.to_string()) } else { request };
                    (worker(runtime.run(request).await.unwrap().outcome), tenant)
                });
            }
            let mut served: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
            for (worker, tenant) in runs.join_all().await {
                served.entry(worker).or_default().insert(tenant);
            }
            let apart = served.values().all(|tenants| tenants.len() == 1);
            assert_eq!(apart, !share, "{served:?}");
            let status = pool.status().await;
            println!("{sessions} sessions, {tenants} tenants: {} workers made way", status.recycled);
            assert!(status.recycled <= REQUESTS as u64 && (!share || status.recycled == 0));
            pool.close().await;
        })
        .await;
    }
}

/// P8, P2: a worker of another tenant that never ends its work is no reason to wait for ever.
#[tokio::test(start_paused = true)]
async fn a_tenant_whose_worker_cannot_come_hears_of_it_in_time() {
    guarded(async {
        let pool = Pool::start_with(first_does(crate::workers::silent), |it| {
            it.queue_timeout(Duration::from_secs(5))
        })
        .await;
        let stuck = pool.runtime.execute(Request::python("stuck").tenant("a").no_deadline()).await.unwrap();
        let lost = pool.runtime.run(Request::python("x").tenant("b")).await.unwrap().outcome;
        assert!(lost.to_string().contains("5s"), "{lost}");
        stuck.cancel();
        assert_eq!(runs_for(&pool, "b").await, 2);
        pool.close().await;
    })
    .await;
}

/// A queue of none takes what an idle worker of another tenant makes way for, and refuses what is more.
#[tokio::test(start_paused = true)]
async fn an_idle_worker_of_another_tenant_is_room_for_one() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.queue(0)).await;
        runs_for(&pool, "a").await;
        let waits = pool.runtime.execute(Request::python("sleep 10").tenant("b")).await.unwrap();
        let refused = pool.runtime.execute(Request::python("x").tenant("c")).await;
        assert!(matches!(refused, Err(SubmitError::QueueFull { .. })), "{refused:?}");
        assert!(waits.outcome().await.is_completed());
        pool.close().await;
    })
    .await;
}
