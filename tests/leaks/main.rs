//! What is counted for a whole process: descriptors, threads, memory, children. One section after another, in one test,
//! because a neighbour would be counted too.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever was not expected fails the test")]
#![expect(clippy::print_stdout, reason = "figures, and the log of what failed")]
#![expect(clippy::disallowed_methods, reason = "the clock of real processes is the real one")]

mod chaos;
mod costs;
mod counts;
mod cycles;
mod flood;
mod floods;
mod reports;

#[path = "../support/server_lines.rs"]
mod server_lines;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod support;

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use support::wait::guarded_for;

type Section = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

macro_rules! sections {
    ($($module:ident::$name:ident,)+) => { [$((stringify!($name), || Box::pin($module::$name())),)+] };
}

const SECTIONS: [Section; 18] = sections![
    costs::a_session_costs_a_few_descriptors_one_child_and_no_thread,
    cycles::twenty_rapid_starts_and_stops_leave_nothing,
    cycles::a_thousand_sessions_in_a_row_leave_nothing,
    cycles::kills_and_cancels_leave_nothing,
    cycles::warmup_adds_no_thread_and_no_memory,
    flood::f29_a_flood_that_nobody_reads_waits_in_the_worker,
    flood::f29_a_flood_on_the_stdio_transport_waits_too,
    flood::f29_a_flood_that_is_read_arrives_whole_and_is_not_kept,
    flood::f32_a_flood_on_stderr_is_bounded_and_its_end_is_kept,
    floods::each_message_as_a_flood_from_a_scripted_worker,
    floods::each_message_as_a_flood_from_a_real_worker,
    floods::small_output_between_large_frames_keeps_no_buffer_alive,
    floods::whatever_code_does_without_end_while_its_caller_takes_nothing,
    floods::each_message_of_a_server_as_a_flood,
    reports::a_report_keeps_as_much_as_it_may_and_counts_the_rest,
    reports::f48_a_consumer_that_drops_the_stream_still_gets_the_outcome,
    reports::a_detached_flood_runs_to_its_end,
    chaos::ten_thousand_executions_survive_a_killer,
];

/// E11, P9, P11 and B21, F7 and B5 among the sections. `OSTLER_SECTION=flood` runs those with that in their names.
#[test]
fn nothing_is_left_and_nothing_grows_one_section_after_another() {
    let wanted = std::env::var("OSTLER_SECTION").unwrap_or_default();
    let sections: Vec<_> = SECTIONS.iter().filter(|(name, _)| name.contains(&wanted)).collect();
    assert!(!sections.is_empty(), "no section is called `{wanted}`");
    for (name, section) in sections {
        let begun = Instant::now();
        println!("== {name}");
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        tokio.block_on(guarded_for(Duration::from_secs(300), section()));
        println!("   took {:?}", begun.elapsed());
    }
}
