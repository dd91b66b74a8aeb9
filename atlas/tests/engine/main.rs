//! The program as an engine: real processes, driven over their sockets by a server that carries closures between them.
//!
//! The test binary is its own program: started as an engine, it is one. So it has no harness but the few lines here.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod program;
#[path = "../host/programs.rs"]
mod programs;
mod server;

use std::io::Write;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, thread};

use atlas_engine::{
    CommandLine, Failure, Finished, Lease, Outcome, ROOT_TASK, RequestId, SOCKET_VARIABLE, Ticket,
    ToEngine, frame,
};
use programs::{fib_plain, mix, queens_plain, tree_plain};
use server::{DEADLINE, Engine, Server, closure, value};

const TESTS: &[(&str, fn())] = &[
    ("two_engines_share_a_program", two_engines_share_a_program),
    ("root_is_main", root_is_main),
    ("no_worker_uses_no_processor", no_worker_uses_no_processor),
    (
        "aborted_closure_leaves_its_worker",
        aborted_closure_leaves_its_worker,
    ),
    (
        "signs_of_life_are_given_whatever_runs",
        signs_of_life_are_given_whatever_runs,
    ),
    (
        "regression_load_is_told_after_a_closure_that_nobody_saw_run",
        regression_load_is_told_after_a_closure_that_nobody_saw_run,
    ),
    (
        "regression_load_is_told_after_a_lend_that_changed_nothing",
        regression_load_is_told_after_a_lend_that_changed_nothing,
    ),
    ("failures_are_told", failures_are_told),
    (
        "killed_engine_changes_no_result",
        killed_engine_changes_no_result,
    ),
    (
        "what_a_killed_engine_had_finished_is_not_run_again",
        what_a_killed_engine_had_finished_is_not_run_again,
    ),
    (
        "late_and_false_results_change_nothing",
        late_and_false_results_change_nothing,
    ),
    (
        "shared_value_goes_once_and_not_in_closures",
        shared_value_goes_once_and_not_in_closures,
    ),
    (
        "damaged_shared_value_is_refused",
        damaged_shared_value_is_refused,
    ),
    ("large_results_come_in_files", large_results_come_in_files),
    (
        "damaged_large_result_is_computed_by_its_lender",
        damaged_large_result_is_computed_by_its_lender,
    ),
    (
        "large_result_lies_where_the_engine_says",
        large_result_lies_where_the_engine_says,
    ),
    ("garbage_ends_the_engine", garbage_ends_the_engine),
    ("engine_ends_with_its_server", engine_ends_with_its_server),
    ("false_socket_is_an_error", false_socket_is_an_error),
];

fn main() -> ExitCode {
    if std::env::var_os(SOCKET_VARIABLE).is_some() {
        return program::main();
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut failed = Vec::new();
    for (name, test) in TESTS {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let began = Instant::now();
        let passed = catch_unwind(test).is_ok();
        let verdict = if passed { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {verdict} ({:.1} s)",
            began.elapsed().as_secs_f64()
        );
        if !passed {
            failed.push(name);
        }
    }
    println!("test result: {} failed: {failed:?}", failed.len());
    ExitCode::from(u8::from(!failed.is_empty()))
}

const FIRST: Ticket = Ticket(1);
/// A Fibonacci number that takes some tenths of a second.
const LONG: u64 = if cfg!(debug_assertions) { 29 } else { 37 };

fn accept(path: &str, args: &impl serde::Serialize) -> ToEngine {
    ToEngine::Accept {
        ticket: FIRST,
        closure: closure(path, args),
    }
}

fn failure(finished: &Finished) -> Failure {
    match &finished.outcome {
        Outcome::Panic(bytes) => Failure::from_bytes(bytes),
        Outcome::Value(_) | Outcome::Blob { .. } => panic!("{finished:?}"),
    }
}

fn two_engines_share_a_program() {
    let mut server = Server::new(2, &[]);
    let queens = queens_plain(10, &mut Vec::new());
    let programs = [
        (accept("engine::programs::fib", &(LONG,)), fib_plain(LONG)),
        (
            accept("engine::programs::fib_next", &(22_u64,)),
            fib_plain(22),
        ),
        (
            accept("engine::programs::queens", &(10_u8, Vec::<u8>::new())),
            queens,
        ),
        (
            accept("engine::programs::tree", &(4_u64, 0_u32)),
            tree_plain(4, 0),
        ),
    ];
    for (at, (command, expected)) in programs.iter().enumerate() {
        server.engine(at % 2).say(command);
        let finished = server.finish(FIRST);
        assert_eq!(value(&finished), *expected);
        assert!(finished.work > Duration::ZERO);
    }
    assert!(server.moved > 0, "nothing was stolen");
    assert!(server.measured > Duration::ZERO);
}

fn root_is_main() {
    let root = |line: &[&str]| {
        let line = line.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut closure = closure("", &());
        closure.kind.task = ROOT_TASK;
        closure.args = CommandLine(line).to_args();
        ToEngine::Accept {
            ticket: FIRST,
            closure,
        }
    };
    let mut server = Server::new(2, &["42"]);
    server.engine(1).say(&root(&["42"]));
    assert_eq!(value(&server.finish(FIRST)), 42);
    server.engine(1).say(&root(&["43"]));
    let Failure::Panicked { task, message } = failure(&server.finish(FIRST)) else {
        panic!("the root is run or fails");
    };
    assert_eq!(task.as_deref(), Some("main"));
    assert!(message.contains("another command line"), "{message}");
    let mut said = String::new();
    for engine in [0, 1] {
        let mut engine = server.take(engine);
        engine.say(&ToEngine::Stop);
        let ended = engine.end();
        assert!(ended.status.success(), "{}", ended.stderr);
        said += &ended.stdout;
    }
    assert_eq!(said, "the root was here\n");
}

fn no_worker_uses_no_processor() {
    /// The span over which it is measured, not a wait for something.
    const SPAN: Duration = Duration::from_millis(500);
    let mut server = Server::new(1, &[]);
    server.engine(0).say(&ToEngine::SetWorkers { workers: 2 });
    server
        .engine(0)
        .say(&accept("engine::program::busy_for", &(2000_u64,)));
    let busy = server.engine(0).ticks();
    let began = Instant::now();
    while server.engine(0).ticks() < busy + 5 {
        assert!(began.elapsed() < DEADLINE, "it does not run");
        thread::sleep(Duration::from_millis(1));
    }
    server.engine(0).say(&ToEngine::SetWorkers { workers: 0 });
    // It is to have stopped by then.
    thread::sleep(Duration::from_millis(100));
    let before = server.engine(0).ticks();
    thread::sleep(SPAN);
    let used = server.engine(0).ticks() - before;
    assert!(used <= 1, "{used} ticks in {SPAN:?}");
    server.engine(0).say(&ToEngine::SetWorkers { workers: 1 });
    assert_eq!(value(&server.finish(FIRST)), 2000);
}

fn aborted_closure_leaves_its_worker() {
    let mut server = Server::new(1, &[]);
    server.carry_until(|server| server.load(0).idle == 1);
    server
        .engine(0)
        .say(&accept("engine::program::endless", &(7_u64,)));
    server.carry_until(|server| server.load(0).idle == 0);
    server.engine(0).say(&ToEngine::Abort { ticket: FIRST });
    server.carry_until(|server| server.load(0).idle == 1);
    // Its ticket is free again.
    server
        .engine(0)
        .say(&accept("engine::programs::fib", &(10_u64,)));
    assert_eq!(value(&server.finish(FIRST)), 55);
}

/// A closure that spins without a join keeps the only worker.
fn signs_of_life_are_given_whatever_runs() {
    let mut server = Server::new(1, &[]);
    server.carry_until(|server| server.load(0).idle == 1);
    server
        .engine(0)
        .say(&accept("engine::program::leaves_one", &(7_u64,)));
    server.carry_until(|server| server.load(0).ready == 1);
    for times in 1..10 {
        server.engine(0).say(&ToEngine::Ping);
        server.carry_until(|server| server.signs_of_life >= times);
    }
}

fn regression_load_is_told_after_a_closure_that_nobody_saw_run() {
    let mut server = Server::new(1, &[]);
    server.carry_until(|server| server.load(0).idle == 1);
    for _ in 0..20 {
        let told = server.loads_told;
        server
            .engine(0)
            .say(&accept("engine::programs::fib", &(1_u64,)));
        assert_eq!(value(&server.finish(FIRST)), 1);
        // The server counts no idle worker until it is told of one.
        server.carry_until(|server| server.loads_told > told && server.load(0).idle == 1);
    }
}

/// The server takes off what it asks for. What was lent is replaced before the engine looks.
fn regression_load_is_told_after_a_lend_that_changed_nothing() {
    let mut server = Server::new(1, &[]);
    server
        .engine(0)
        .say(&accept("engine::program::leaves_one", &(7_u64,)));
    for number in 1..20 {
        server.carry_until(|server| server.load(0).ready == 1 && server.load(0).idle == 0);
        let told = server.loads_told;
        let request = RequestId(number);
        // Each lease is the next number.
        let lease = Lease(number - 1);
        let lend = ToEngine::Lend {
            request,
            closures_max: 1,
        };
        server
            .engine(0)
            .say_at_once(&[lend, ToEngine::Reclaim { lease }]);
        server.carry_until(|server| server.loads_told > told);
    }
}

fn failures_are_told() {
    let mut server = Server::new(1, &[]);
    server
        .engine(0)
        .say(&accept("engine::program::fails", &(3_u64,)));
    let panicked = Failure::Panicked {
        task: Some("engine::program::fails".to_owned()),
        message: "no 3 today".to_owned(),
    };
    assert_eq!(failure(&server.finish(FIRST)), panicked);
    for command in [
        accept("another_program::task", &()),
        accept("engine::programs::fib", &()),
    ] {
        server.engine(0).say(&command);
        let refused = failure(&server.finish(FIRST));
        assert!(matches!(&refused, Failure::Refused { .. }), "{refused:?}");
    }
}

fn killed_engine_changes_no_result() {
    let mut server = Server::new(2, &[]);
    server
        .engine(0)
        .say(&accept("engine::programs::fib", &(LONG,)));
    server.carry_until(|server| server.runs_for_others(1) > 0);
    server.engine(1).kill();
    assert_eq!(value(&server.finish(FIRST)), fib_plain(LONG));
}

/// One engine is killed in the middle; another one is told what the first has recorded.
fn what_a_killed_engine_had_finished_is_not_run_again() {
    const LEAVES: u64 = 64;
    let begun = |engine: Engine| {
        let stdout = engine.end().stdout;
        let begun = stdout.lines().filter(|line| line.starts_with("leaf "));
        u64::try_from(begun.count()).unwrap()
    };
    let expected = (0..LEAVES).fold(0, |sum, number| sum ^ mix(number));
    for path in ["told_halves", "told_handles", "told_frames"] {
        let command = accept(&format!("engine::program::{path}"), &(0_u64, LEAVES));
        let mut server = Server::new(1, &[]);
        server.engine(0).say(&command);
        server.carry_until(|server| server.recorded.len() >= 30);
        server.engine(0).kill();
        let before = begun(server.take(0));
        let recorded = std::mem::take(&mut server.recorded);
        assert!(server.tasks.iter().any(|task| task.path.ends_with(path)));

        let mut server = Server::new(1, &[]);
        server
            .engine(0)
            .say(&ToEngine::Remember { entries: recorded });
        server.engine(0).say(&command);
        assert_eq!(value(&server.finish(FIRST)), expected);
        server.engine(0).say(&ToEngine::Stop);
        let after = begun(server.take(0));
        let again = before + after - LEAVES;
        assert!(
            before < LEAVES && again <= 2,
            "{path}: {before}, then {after}"
        );
    }
}

fn late_and_false_results_change_nothing() {
    let mut server = Server::new(1, &[]);
    let nonsense = |lease, outcome| ToEngine::ReturnResult {
        lease: Lease(lease),
        finished: Finished {
            outcome,
            work: Duration::ZERO,
        },
    };
    let value_of = |bytes: &'static [u8]| Outcome::Value(bytes.into());
    server.engine(0).say(&nonsense(77, value_of(&[1])));
    server
        .engine(0)
        .say(&ToEngine::Reclaim { lease: Lease(77) });
    server
        .engine(0)
        .say(&ToEngine::Abort { ticket: Ticket(77) });
    // It is lent before it can begin, and comes back as what is no result of it.
    server.engine(0).say(&ToEngine::SetWorkers { workers: 0 });
    server
        .engine(0)
        .say(&accept("engine::programs::fib", &(20_u64,)));
    let lend = ToEngine::Lend {
        request: atlas_engine::RequestId(1),
        closures_max: 9,
    };
    server.engine(0).say(&lend);
    server.engine(0).say(&nonsense(0, value_of(&[0xff; 30])));
    server.engine(0).say(&nonsense(0, value_of(&[1])));
    server.engine(0).say(&ToEngine::SetWorkers { workers: 1 });
    assert_eq!(value(&server.finish(FIRST)), 6765);
}

/// Some MiB, in any encoding.
const ENTRIES: u64 = 500_000;

fn table_sum_plain() -> u64 {
    (0..ENTRIES).map(program::entry).fold(0, u64::wrapping_add)
}

fn shared_value_goes_once_and_not_in_closures() {
    let mut server = Server::new(3, &[]);
    server
        .engine(0)
        .say(&accept("engine::program::table_sum", &(ENTRIES,)));
    assert_eq!(value(&server.finish(FIRST)), table_sum_plain());
    let moved = server.moved_naming;
    assert!(moved > 3, "{moved} closures have moved");
    assert_eq!(server.told_of.len(), 1, "the value was written once");
    assert_eq!(server.handed_on.len(), 2, "each other engine needs it once");
    assert_eq!(server.refused, 0);
}

fn damaged_shared_value_is_refused() {
    let mut server = Server::new(2, &[]);
    server.damages = true;
    server
        .engine(0)
        .say(&accept("engine::program::table_sum", &(ENTRIES,)));
    assert_eq!(value(&server.finish(FIRST)), table_sum_plain());
    assert!(server.refused > 0);
    let moved = server.moved_naming;
    assert_eq!(server.refused, moved, "their lender runs them");
    let mut engine = server.take(1);
    engine.say(&ToEngine::Stop);
    let said = engine.end().stderr;
    assert!(
        said.contains("its content is not what its name says"),
        "{said}"
    );
}

const PARTS: u64 = 8;
/// More than a message takes.
const PART_BYTES: usize = (3 << 20) + 1;

fn large_sum_plain() -> u64 {
    (0..PARTS).sum()
}

/// How often parts were computed by engines that are told to stop.
fn parts_run(server: &mut Server) -> usize {
    let engines = [0, 1].map(|index| {
        let mut engine = server.take(index);
        engine.say(&ToEngine::Stop);
        engine.end().stdout
    });
    let lines = engines.iter().flat_map(|said| said.lines());
    lines.filter(|line| line.starts_with("part ")).count()
}

fn large_results_come_in_files() {
    let mut server = Server::new(2, &[]);
    let command = accept("engine::program::large_sum", &(PARTS, PART_BYTES));
    server.engine(0).say(&command);
    assert_eq!(value(&server.finish(FIRST)), large_sum_plain());
    let (large, bytes) = (server.large, server.large_bytes);
    assert!(large > 1, "{large} large results");
    // Each with its length.
    assert_eq!(bytes, large * (PART_BYTES as u64 + 4));
    assert_eq!(server.refused, 0);
    let recorded = server.recorded.iter().map(|entry| entry.result.len());
    assert!(recorded.max().unwrap_or(0) < PART_BYTES);
    assert_eq!(parts_run(&mut server), 8, "each part was computed once");
}

fn damaged_large_result_is_computed_by_its_lender() {
    let mut server = Server::new(2, &[]);
    server.damages = true;
    let command = accept("engine::program::large_sum", &(PARTS, PART_BYTES));
    server.engine(0).say(&command);
    assert_eq!(value(&server.finish(FIRST)), large_sum_plain());
    let damaged = usize::try_from(server.large_damaged).unwrap();
    assert!(damaged > 0, "nothing has moved");
    assert_eq!(parts_run(&mut server), 8 + damaged);
}

fn large_result_lies_where_the_engine_says() {
    let mut server = Server::new(1, &[]);
    let command = accept("engine::program::large", &(PART_BYTES,));
    server.engine(0).say(&command);
    let Outcome::Blob { name, bytes } = server.finish(FIRST).outcome else {
        panic!("it fits into no message");
    };
    let content = fs::read(server.shared_file(0, name)).unwrap();
    assert_eq!(content.len() as u64, bytes);
    assert_eq!(blake3::hash(&content).as_bytes(), &name.0);
    let value: Vec<u8> = postcard::from_bytes(&content).unwrap();
    assert!(value == vec![7; PART_BYTES]);
    // As much as a message takes comes in one, with its length.
    let command = accept("engine::program::large", &((3_usize << 20) - 4,));
    server.engine(0).say(&command);
    assert!(matches!(server.finish(FIRST).outcome, Outcome::Value(_)));
}

fn garbage_ends_the_engine() {
    let sentences: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[2, 0, 0, 0, 99, 0],
        &[3, 0, 0, 0, 1, 250, 250],
    ];
    for (greeted, garbage) in [false, true]
        .into_iter()
        .flat_map(|greeted| sentences.map(|garbage| (greeted, garbage)))
    {
        let mut engine = Engine::start(&[]);
        if greeted {
            engine.greet(1);
        }
        engine.socket.write_all(garbage).unwrap();
        let ended = engine.end();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        let said = ended.stderr;
        assert!(
            said.contains("atlas: cannot understand the server: "),
            "{said}"
        );
    }
    let mut engine = Engine::start(&[]);
    engine.say(&ToEngine::Stop);
    let ended = engine.end();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.stderr.contains("Stop before Hello"),
        "{}",
        ended.stderr
    );
}

fn engine_ends_with_its_server() {
    for stop in [true, false] {
        let mut engine = Engine::start(&[]);
        engine.greet(2);
        engine.say(&ToEngine::SetWorkers { workers: 2 });
        engine.say(&accept("engine::program::endless", &(7_u64,)));
        let half = frame::encode(&ToEngine::Stop).unwrap();
        if stop {
            engine.say(&ToEngine::Stop);
        } else {
            // The server dies in the middle of a word.
            engine.socket.write_all(&half[..3]).unwrap();
            engine.socket.shutdown(std::net::Shutdown::Both).unwrap();
        }
        let ended = engine.end();
        assert!(ended.status.success(), "{}", ended.stderr);
        assert_eq!(ended.stderr, "");
    }
}

fn false_socket_is_an_error() {
    for (path, expected) in [
        ("relative", "no absolute path"),
        ("/nonexistent/socket", "cannot connect to the server"),
    ] {
        let program = std::env::current_exe().unwrap();
        let mut command = std::process::Command::new(program);
        let output = command.env(SOCKET_VARIABLE, path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
