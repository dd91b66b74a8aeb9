//! A server for tests: it starts engines and carries closures between them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fs};

use atlas_engine::{
    Above, Closure, ClosureKind, Failure, Finished, FromEngine, Lease, Lent, Load, Outcome,
    Program, Recorded, RequestId, SHARED_VARIABLE, SOCKET_VARIABLE, SharedName, TaskId, TaskPath,
    Ticket, ToEngine, frame,
};
use serde::Serialize;

/// Far beyond what anything takes here, even on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// One engine's process.
pub(crate) struct Engine {
    child: Child,
    pub(crate) socket: UnixStream,
    /// Where its shared values lie.
    shared: Directory,
    output: Option<[JoinHandle<String>; 2]>,
}

/// How a process has ended, and what it has said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Engine {
    /// Starts an engine with this command line, and waits until it connects.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let (directory, shared) = (Directory::new(), Directory::new());
        let path = directory.0.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(arguments)
            .env(SOCKET_VARIABLE, &path)
            .env(SHARED_VARIABLE, &shared.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = [
            listen(child.stdout.take().unwrap()),
            listen(child.stderr.take().unwrap()),
        ];
        let began = Instant::now();
        let socket = loop {
            if let Ok((socket, _)) = listener.accept() {
                break socket;
            }
            assert!(began.elapsed() < DEADLINE, "the engine does not connect");
            assert!(child.try_wait().unwrap().is_none(), "the engine has ended");
            thread::sleep(Duration::from_millis(1));
        };
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self {
            child,
            socket,
            shared,
            output: Some(output),
        }
    }

    /// Greets it; what it is.
    pub(crate) fn greet(&mut self, workers_max: u32) -> Program {
        self.say(&ToEngine::Hello { workers_max });
        match frame::read(&mut self.socket).unwrap() {
            Some(FromEngine::Hello { program }) => program,
            other => panic!("{other:?} in place of Hello"),
        }
    }

    pub(crate) fn say(&mut self, command: &ToEngine) {
        frame::write(&mut self.socket, command).unwrap();
    }

    /// Says several things, with nothing done in between.
    pub(crate) fn say_at_once(&mut self, commands: &[ToEngine]) {
        let frames = commands
            .iter()
            .map(|command| frame::encode(command).unwrap());
        self.socket
            .write_all(&frames.collect::<Vec<_>>().concat())
            .unwrap();
    }

    /// The processor time that it has used, in ticks of the kernel's.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        let fields: Vec<_> = after_name.split_whitespace().collect();
        // `utime` and `stime`, counted from the state.
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits until the process has ended.
    pub(crate) fn end(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < DEADLINE, "the engine does not end");
            thread::sleep(Duration::from_millis(1));
        };
        let [stdout, stderr] = self.output.take().unwrap().map(|said| said.join().unwrap());
        Ended {
            status,
            stdout,
            stderr,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Whatever became of the test, no process stays behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut said = String::new();
        let _ = from.read_to_string(&mut said);
        said
    })
}

/// A directory that only its owner can enter, for as long as it is needed.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("atlas-engine-{}-{number}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server with some engines of one program.
pub(crate) struct Server {
    engines: Vec<Option<Engine>>,
    told: Receiver<(usize, Option<FromEngine>)>,
    loads: Vec<Load>,
    /// How often they were told.
    pub(crate) loads_told: u64,
    /// Answers to `Ping`.
    pub(crate) signs_of_life: usize,
    /// Closures under way: who runs them, who lent them.
    carried: BTreeMap<Ticket, Carried>,
    /// A question for each engine that is to be fed: its number.
    asked: BTreeMap<usize, RequestId>,
    next: u64,
    pub(crate) moved: u64,
    /// So many of them name a shared value.
    pub(crate) moved_naming: u64,
    pub(crate) measured: Duration,
    /// The shared values that engines have told of.
    pub(crate) told_of: Vec<SharedName>,
    /// Those that engines were given files of.
    pub(crate) handed_on: Vec<SharedName>,
    /// Results that came as files, and the bytes of all of them.
    pub(crate) large: u64,
    pub(crate) large_bytes: u64,
    /// How many of them their lenders found to be garbage.
    pub(crate) large_damaged: u64,
    /// In place of shared values and large results engines find garbage.
    pub(crate) damages: bool,
    pub(crate) refused: u64,
    /// The results that were recorded by any engine.
    pub(crate) recorded: Vec<Recorded>,
    pub(crate) tasks: Vec<TaskPath>,
}

#[derive(Clone, Copy)]
struct Carried {
    to: usize,
    from: usize,
    lease: Lease,
}

impl Server {
    /// So many engines, with one worker each.
    pub(crate) fn new(engines: usize, arguments: &[&str]) -> Self {
        let (tell, told) = mpsc::channel();
        let mut programs = Vec::new();
        let engines: Vec<_> = (0..engines)
            .map(|index| {
                let mut engine = Engine::start(arguments);
                programs.push(engine.greet(2));
                engine.say(&ToEngine::SetWorkers { workers: 1 });
                hear(index, &engine.socket, tell.clone());
                Some(engine)
            })
            .collect();
        assert!(programs.windows(2).all(|pair| pair[0] == pair[1]));
        Self {
            loads: vec![Load::default(); engines.len()],
            loads_told: 0,
            signs_of_life: 0,
            engines,
            told,
            carried: BTreeMap::new(),
            asked: BTreeMap::new(),
            next: 1000,
            moved: 0,
            moved_naming: 0,
            measured: Duration::ZERO,
            told_of: Vec::new(),
            handed_on: Vec::new(),
            large: 0,
            large_bytes: 0,
            large_damaged: 0,
            damages: false,
            refused: 0,
            recorded: Vec::new(),
            tasks: Vec::new(),
        }
    }

    pub(crate) fn engine(&mut self, index: usize) -> &mut Engine {
        self.engines[index].as_mut().expect("it is alive")
    }

    pub(crate) fn take(&mut self, index: usize) -> Engine {
        self.engines[index].take().expect("it is alive")
    }

    pub(crate) fn load(&self, index: usize) -> &Load {
        &self.loads[index]
    }

    /// How many closures the engine runs for others.
    pub(crate) fn runs_for_others(&self, index: usize) -> usize {
        let all = self.carried.values();
        all.filter(|carried| carried.to == index).count()
    }

    /// Carries closures until the one with this ticket, which was given to an engine, is finished.
    pub(crate) fn finish(&mut self, ticket: Ticket) -> Finished {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < DEADLINE, "{ticket:?} does not finish");
            if let Some((done, finished)) = self.step()
                && done == ticket
            {
                return finished;
            }
        }
    }

    /// Carries closures until `condition` holds.
    pub(crate) fn carry_until(&mut self, condition: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            assert!(began.elapsed() < DEADLINE, "the condition never came true");
            assert!(self.step().is_none(), "finished too early");
        }
    }

    /// Acts on one message, if one comes soon; what has finished of what nobody lent.
    pub(crate) fn step(&mut self) -> Option<(Ticket, Finished)> {
        let told = self.told.recv_timeout(Duration::from_millis(50)).ok();
        let finished = match told {
            Some((from, Some(event))) => self.hear_of(from, event),
            // A process that was killed.
            Some((from, None)) => {
                self.lose(from);
                None
            }
            None => None,
        };
        self.feed();
        finished
    }

    fn hear_of(&mut self, from: usize, event: FromEngine) -> Option<(Ticket, Finished)> {
        match event {
            FromEngine::Load(load) => {
                self.loads_told += 1;
                self.loads[from] = load;
            }
            FromEngine::Lent { request, closures } => self.pass_on(from, request, closures),
            FromEngine::Finished { ticket, finished } => {
                let Some(carried) = self.carried.remove(&ticket) else {
                    return Some((ticket, finished));
                };
                self.refused += u64::from(is_refusal(&finished));
                if let Outcome::Blob { name, bytes } = finished.outcome {
                    self.large += 1;
                    self.large_bytes += bytes;
                    self.hand_on(name, from, carried.from);
                    let content = fs::read(self.shared_file(carried.from, name)).unwrap();
                    self.large_damaged += u64::from(blake3::hash(&content).as_bytes() != &name.0);
                }
                let lease = carried.lease;
                self.say(carried.from, &ToEngine::ReturnResult { lease, finished });
            }
            FromEngine::Unwanted { lease } => {
                let mut all = self.carried.iter();
                let found = all.find(|(_, carried)| (carried.from, carried.lease) == (from, lease));
                if let Some((&ticket, &carried)) = found {
                    self.carried.remove(&ticket);
                    self.say(carried.to, &ToEngine::Abort { ticket });
                }
            }
            FromEngine::Measured { samples } => {
                let roots = samples.iter().filter(|sample| sample.kind.depth == 0);
                self.measured += roots.map(|sample| sample.work).sum::<Duration>();
            }
            FromEngine::Share { name } => {
                let bytes = fs::read(self.shared_file(from, name)).unwrap();
                assert_eq!(blake3::hash(&bytes).as_bytes(), &name.0);
                self.told_of.push(name);
            }
            FromEngine::Record { entries } => self.recorded.extend(entries),
            FromEngine::Tasks { paths } => self.tasks.extend(paths),
            FromEngine::Pong => self.signs_of_life += 1,
            FromEngine::Hello { .. } => panic!("a second Hello"),
        }
        None
    }

    fn pass_on(&mut self, from: usize, request: RequestId, closures: Vec<Lent>) {
        let asked = self.asked.iter().find(|(_, asked)| **asked == request);
        let to = asked.map(|(to, _)| *to);
        if let Some(to) = to {
            self.asked.remove(&to);
        }
        for Lent { lease, closure, .. } in closures {
            let Some(to) = to.filter(|to| self.engines[*to].is_some()) else {
                self.say(from, &ToEngine::Reclaim { lease });
                continue;
            };
            for &name in &closure.shared {
                assert!(self.told_of.contains(&name), "it was not told of before");
                self.hand_on(name, from, to);
            }
            let ticket = self.ticket();
            self.carried.insert(ticket, Carried { to, from, lease });
            self.moved += 1;
            self.moved_naming += u64::from(!closure.shared.is_empty());
            self.say(to, &ToEngine::Accept { ticket, closure });
        }
    }

    /// Puts the file of a shared value where another engine finds it.
    fn hand_on(&mut self, name: SharedName, from: usize, to: usize) {
        let [from, to] = [from, to].map(|engine| self.shared_file(engine, name));
        if to.exists() {
            return;
        }
        self.handed_on.push(name);
        if self.damages {
            fs::write(to, "garbage").unwrap();
        } else {
            fs::hard_link(from, to).unwrap();
        }
    }

    pub(crate) fn shared_file(&self, engine: usize, name: SharedName) -> PathBuf {
        let engine = self.engines[engine].as_ref().expect("it is alive");
        engine.shared.0.join(name.to_string())
    }

    /// Asks who has for who has not.
    fn feed(&mut self) {
        let count = self.engines.len();
        for hungry in 0..count {
            let is_hungry = self.loads[hungry].idle > 0 && self.engines[hungry].is_some();
            if !is_hungry || self.asked.contains_key(&hungry) {
                continue;
            }
            let has = |victim: &usize| {
                *victim != hungry
                    && self.engines[*victim].is_some()
                    && self.loads[*victim].ready > 0
            };
            if let Some(victim) = (0..count).find(has) {
                let request = RequestId(self.ticket().0);
                self.asked.insert(hungry, request);
                let lend = ToEngine::Lend {
                    request,
                    closures_max: 2,
                };
                self.say(victim, &lend);
            }
        }
    }

    /// An engine is gone: what it borrowed is ready again where it came from.
    fn lose(&mut self, lost: usize) {
        self.engines[lost] = None;
        self.asked.clear();
        let carried: Vec<_> = self
            .carried
            .extract_if(.., |_, carried| carried.to == lost)
            .collect();
        for (_, Carried { from, lease, .. }) in carried {
            self.say(from, &ToEngine::Reclaim { lease });
        }
    }

    fn say(&mut self, to: usize, command: &ToEngine) {
        if let Some(engine) = &mut self.engines[to] {
            // It may have been killed just now.
            let _ = frame::write(&mut engine.socket, command);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }
}

fn is_refusal(finished: &Finished) -> bool {
    match &finished.outcome {
        Outcome::Value(_) | Outcome::Blob { .. } => false,
        Outcome::Panic(bytes) => matches!(Failure::from_bytes(bytes), Failure::Refused { .. }),
    }
}

/// Passes on what an engine says, and none at its end.
fn hear(index: usize, socket: &UnixStream, tell: Sender<(usize, Option<FromEngine>)>) {
    let mut socket = socket.try_clone().unwrap();
    socket.set_read_timeout(None).unwrap();
    thread::spawn(move || {
        while let Ok(Some(event)) = frame::read(&mut socket) {
            if tell.send((index, Some(event))).is_err() {
                return;
            }
        }
        let _ = tell.send((index, None));
    });
}

/// A closure of a task with this path, at the top of the job.
pub(crate) fn closure(path: &str, args: &impl Serialize) -> Closure {
    let task = atlas::host::TaskId::of_path(path);
    Closure {
        kind: ClosureKind {
            task: TaskId(task.number()),
            depth: 0,
        },
        args: postcard::to_stdvec(args).unwrap().into(),
        expected: Duration::ZERO,
        shared: Vec::new(),
        above: Above::NONE,
    }
}

/// The number that came out.
pub(crate) fn value(finished: &Finished) -> u64 {
    match &finished.outcome {
        Outcome::Value(bytes) => postcard::from_bytes(bytes).unwrap(),
        Outcome::Panic(bytes) => panic!("{:?}", atlas_engine::Failure::from_bytes(bytes)),
        Outcome::Blob { .. } => panic!("{finished:?}"),
    }
}
