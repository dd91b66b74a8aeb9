//! A job that does what a test wants to see done: it prints, reads, fails, or waits for others.
//!
//! Unlike programs, its tasks look at the machine: a test has to know where they are, and to hold them there.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use atlas::Shared;
use atlas::prelude::*;
use atlas_testbed::{digest, told};

#[atlas::main]
fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["code", code] => return Ok(ExitCode::from(code.parse::<u8>()?)),
        ["exit", code] => {
            println!("about to leave");
            process::exit(code.parse()?);
        }
        ["error"] => return Err("main returns this error".into()),
        ["panic"] => panic!("main panics with this message"),
        ["panic-in-task"] => drop(join!(fail(Failure::Panic), double(1))),
        ["abort-in-task"] => drop(join!(fail(Failure::Abort), double(1))),
        ["abort-once", folder] => println!("{}", abort_once(folder.to_owned())),
        ["poison", bytes, folder] => {
            let data = vec![0; bytes.parse()?];
            let folder = || folder.to_owned();
            // A second child of a join could be taken only when its parent joins again, which waits here.
            let poisoned = spawn!(poison(data, folder()));
            spawn!(after_another_died(folder())).sync();
            poisoned.sync();
        }
        ["naps", count, millis, folder] => {
            let naps = nap_all(count.parse()?, millis.parse()?, folder);
            println!("{naps} naps");
        }
        ["print"] => print()?,
        ["print-much", bytes, folder] => {
            arrive(0, 0, Path::new(folder));
            let mut out = io::stdout().lock();
            out.write_all(data(bytes.parse()?).as_bytes())?;
            out.flush()?;
        }
        ["files"] => write_files()?,
        ["read", ref paths @ ..] => read(paths)?,
        // What comes after is to be long.
        ["hold", count, folder] | ["hold", count, folder, _] => {
            hold_all(count.parse()?, 0, folder, &nothing());
        }
        ["meet-afar", count, folder] => {
            show_work();
            let party = count.parse()?;
            hold_all(TASKS_FOR_EACH * party, party, folder, &nothing());
        }
        ["meet", count, folder] => {
            hold_all(count.parse()?, count.parse()?, folder, &nothing());
        }
        ["share", bytes, count, folder] => {
            let data = atlas::share(data(bytes.parse()?));
            hold_all(count.parse()?, 0, folder, &data);
        }
        ["share-afar", count, bytes, folder] => {
            show_work();
            let party = count.parse()?;
            let data = atlas::share(data(bytes.parse()?));
            hold_all(TASKS_FOR_EACH * party, party, folder, &data);
            println!("{}", told(data.as_bytes()));
        }
        ["large", bytes, count, folder] => {
            large_all(
                LARGE_FOR_EACH * count.parse::<u32>()?,
                0,
                bytes.parse()?,
                folder,
            );
        }
        ["weigh", pairs, bytes, ms, folder] => {
            weigh_all(pairs.parse()?, bytes.parse()?, ms.parse()?, folder);
        }
        ["weigh-halves", count, bytes, ms, folder] => {
            let (count, bytes) = (count.parse()?, bytes.parse()?);
            let right = weigh_halves(1, count, bytes, ms.parse()?, folder.to_owned());
            println!("{right} right");
        }
        ["large-afar", count, bytes, folder] => {
            show_work();
            let party = count.parse()?;
            large_all(TASKS_FOR_EACH * party, party, bytes.parse()?, folder);
        }
        ["share-from-afar", count, bytes, folder, second] => {
            share_from_afar(count.parse()?, bytes.parse()?, folder, second);
        }
        ["fetch-afar", count, folder, ref urls @ ..] => fetch_afar(count.parse()?, folder, urls),
        ["pin-afar", count, folder, second, ref urls @ ..] => {
            pin_afar(count.parse()?, folder, second, urls)?;
        }
        ["paths", folder, ref urls @ ..] => by_paths(folder, urls)?,
        ["urls", folder, ref urls @ ..] => by_urls(folder, urls)?,
        ["texts", ref urls @ ..] => texts(urls),
        ["burn", folder] => burn(folder)?,
        ["steps", count, ms] => steps(count.parse()?, ms.parse()?, None),
        ["steps", count, ms, folder] => {
            steps(count.parse()?, ms.parse()?, Some(Path::new(folder)));
        }
        ["steps-on", ms, folder] => steps_on(ms.parse()?, folder)?,
        ["climb", steps, ms, folder] => {
            let (sum, _) = join!(
                climb(steps.parse()?, ms.parse()?, folder.to_owned()),
                double(1)
            );
            println!("sum {sum}");
        }
        ["digest", bytes] => println!("{}", digest(data(bytes.parse()?).as_bytes())),
        _ => return Err("usage: testbed-job WHAT [ARGS]; see its source".into()),
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
enum Failure {
    Panic,
    Abort,
}

#[atlas::spawn]
fn fail(how: Failure) -> u64 {
    match how {
        Failure::Panic => panic!("a task panics with this message"),
        Failure::Abort => process::abort(),
    }
}

#[atlas::spawn]
fn double(number: u64) -> u64 {
    2 * number
}

/// Fails as a process with too little memory would, the first time; prints the same each time.
fn abort_once(folder: String) -> u64 {
    println!("once");
    let mark = Path::new(&folder).join("aborted");
    if !mark.exists() {
        fs::write(mark, "").expect("the test has made the folder");
        process::abort();
    }
    double(21)
}

/// Ends its process, each time, and notes in the folder which it was, and whose.
#[atlas::spawn]
fn poison(data: Vec<u8>, folder: String) -> usize {
    let mark = Path::new(&folder).join(process::id().to_string());
    fs::write(mark, std::os::unix::process::parent_id().to_string())
        .expect("the test has made the folder");
    drop(data);
    process::abort()
}

/// Waits until another process than this one has died of the poison, so that it is not this one at first.
#[atlas::spawn]
fn after_another_died(folder: String) -> u64 {
    let own = process::id().to_string();
    let end = Instant::now() + PATIENCE;
    let others = || {
        let marks = fs::read_dir(&folder).into_iter().flatten().flatten();
        marks.filter(|mark| *mark.file_name() != *own).count()
    };
    while others() == 0 {
        assert!(Instant::now() < end, "nobody has taken the poison");
        thread::sleep(Duration::from_millis(5));
    }
    0
}

/// So many tasks that sleep; each adds a line to the file of its process.
fn nap_all(count: u32, millis: u64, folder: &str) -> u32 {
    let main = Path::new(folder).join("main");
    fs::write(main, process::id().to_string()).expect("the test has made the folder");
    let tasks: Vec<_> = (0..count)
        .map(|_| spawn!(nap(millis, folder.to_owned())))
        .collect();
    tasks.into_iter().map(Handle::sync).sum()
}

#[atlas::spawn]
fn nap(millis: u64, folder: String) -> u32 {
    thread::sleep(Duration::from_millis(millis));
    let path = Path::new(&folder).join(process::id().to_string());
    let file = fs::File::options().create(true).append(true).open(path);
    let mut file = file.expect("the test has made the folder");
    file.write_all(b"nap\n").expect("the file is open");
    1
}

/// Keeps as many processors busy as it is given, in small tasks, until there is a file `go` in the folder, where it has noted its
/// process. Prints how many tasks that were.
fn burn(folder: &str) -> io::Result<()> {
    let folder = Path::new(folder);
    fs::write(folder.join(process::id().to_string()), "")?;
    let (mut tasks, end) = (0, Instant::now() + PATIENCE);
    while !folder.join("go").exists() && Instant::now() < end {
        tasks += burn_all(4);
    }
    println!("{tasks} tasks");
    Ok(())
}

/// Two to this power of tasks.
#[atlas::spawn]
fn burn_all(levels: u32) -> u64 {
    if levels == 0 {
        work(Duration::from_millis(5));
        return 1;
    }
    let (first, second) = join!(burn_all(levels - 1), burn_all(levels - 1));
    first + second
}

/// One step after the other, each of two tasks that take so long; prints each when it is done, and the last one when there is a file
/// `go` in the folder.
fn steps(count: u64, ms: u64, folder: Option<&Path>) {
    for index in 0..count {
        let (first, second) = join!(step(2 * index, ms), step(2 * index + 1, ms));
        if let Some(folder) = folder
            && index + 1 == count
        {
            wait_for(&folder.join("go"));
        }
        println!("step {index}: {}", first + second);
    }
}

/// Steps as [`steps`] makes them, until there is a file `go` in the folder, which says how many they are to be: more than there can have
/// been. Each process that begins a task leaves a file there, with the number of the step.
fn steps_on(ms: u64, folder: &str) -> Result<(), Box<dyn std::error::Error>> {
    let go = Path::new(folder).join("go");
    for index in 0.. {
        let count = match fs::read_to_string(&go) {
            Ok(count) => Some(count.parse()?),
            Err(_) => None,
        };
        if count.is_some_and(|count: u64| index >= count) {
            break;
        }
        let (first, second) = join!(
            noted_step(2 * index, ms, folder.to_owned()),
            noted_step(2 * index + 1, ms, folder.to_owned())
        );
        println!("step {index}: {}", first + second);
    }
    Ok(())
}

#[atlas::spawn]
fn noted_step(index: u64, ms: u64, folder: String) -> u64 {
    let mark = Path::new(&folder).join(process::id().to_string());
    // In place, all at once: whoever reads meanwhile finds a whole number.
    let mut options = fs::OpenOptions::new();
    let opened = options.create(true).truncate(false).write(true).open(mark);
    let step = format!("{:08}", index / 2);
    let noted = opened.and_then(|mut file| file.write_all(step.as_bytes()));
    noted.expect("the test has made the folder");
    thread::sleep(Duration::from_millis(ms));
    index
}

#[atlas::spawn]
fn step(index: u64, ms: u64) -> u64 {
    thread::sleep(Duration::from_millis(ms));
    index
}

/// A long task without children: it goes on from where an earlier run has kept that it was. Each step adds a line with its number to the file
/// of its process.
#[atlas::spawn]
fn climb(steps: u64, ms: u64, folder: String) -> u64 {
    let (from, sum) = atlas::resume().unwrap_or((0, 0));
    let path = Path::new(&folder).join(process::id().to_string());
    let mut file = fs::File::create(path).expect("the test has made the folder");
    (from..steps).fold(sum, |sum: u64, step| {
        atlas::checkpoint(&(step, sum));
        thread::sleep(Duration::from_millis(ms));
        writeln!(file, "{step}").expect("the file is open");
        sum + step
    })
}

/// Bytes of all kinds to both streams, in pieces that are flushed or not.
fn print() -> io::Result<()> {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    out.write_all(&bytes_of_all_kinds(0))?;
    out.flush()?;
    err.write_all(&bytes_of_all_kinds(1))?;
    for number in 0..1000 {
        writeln!(out, "line {number}")?;
    }
    err.write_all(b"no newline at the end")?;
    out.write_all(b"nor here")?;
    out.flush()
}

fn bytes_of_all_kinds(step: u8) -> Vec<u8> {
    (0..=u8::MAX)
        .map(|byte| byte.wrapping_mul(3).wrapping_add(step))
        .collect()
}

fn write_files() -> io::Result<()> {
    fs::create_dir_all("made/deep")?;
    fs::write("made/deep/bytes", bytes_of_all_kinds(0))?;
    fs::write("made/empty", "")?;
    fs::write("top.txt", "made by the job\n")
}

/// Prints each file with its permissions.
fn read(paths: &[&str]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for path in paths {
        let mode = fs::metadata(path)?.mode() & 0o777;
        write!(out, "{path} {mode:o} ")?;
        out.write_all(&fs::read(path)?)?;
    }
    out.flush()
}

/// Runs so many tasks that wait, and prints what they sum up to and in how many processes they ran. All see the same data.
fn hold_all(count: u32, party: u32, folder: &str, data: &Shared<String>) {
    let (sum, processes) = run_all(count, party, folder, data);
    println!("sum {sum}, {processes} processes");
}

fn run_all(count: u32, party: u32, folder: &str, data: &Shared<String>) -> (u32, usize) {
    let tasks: Vec<_> = (1..=count)
        .map(|index| spawn!(hold(index, party, folder.to_owned(), data.clone(), None)))
        .collect();
    let ended: Vec<Held> = tasks.into_iter().map(Handle::sync).collect();
    let expected = digest(data.as_bytes());
    assert!(ended.iter().all(|held| held.seen == expected), "other data");
    let sum: u32 = ended.iter().map(|held| held.index).sum();
    let processes: BTreeSet<u32> = ended.iter().map(|held| held.process).collect();
    (sum, processes.len())
}

/// Runs so many tasks that wait, and return so many bytes each. Prints how many of them came as they should, and from how many
/// processes. Beside the folder, it notes its own.
fn large_all(count: u32, party: u32, bytes: usize, folder: &str) {
    let note = Path::new(folder).with_extension("main");
    fs::write(note, process::id().to_string()).expect("the test has made the folder beside it");
    let tasks: Vec<_> = (1..=count)
        .map(|index| spawn!(large(index, party, bytes, folder.to_owned())))
        .collect();
    let (mut right, mut processes) = (0, BTreeSet::new());
    for (index, task) in (1..).zip(tasks) {
        let (process, made) = task.sync();
        processes.insert(process);
        right += u32::from(made == bytes_of(index, bytes));
    }
    println!("{right} right, {} processes", processes.len());
}

#[atlas::spawn]
fn large(index: u32, party: u32, bytes: usize, folder: String) -> (u32, Vec<u8>) {
    arrive(index, party, Path::new(&folder));
    (process::id(), bytes_of(index, bytes))
}

/// Runs so many pairs of tasks, one after the other, each of which works for so long and returns so many bytes. Prints how many came as they
/// should, when there is a file `go` in the folder, where each task notes that it runs.
fn weigh_all(pairs: u32, bytes: usize, ms: u64, folder: &str) {
    let mut right = 0;
    for (one, other) in (0..pairs).map(|pair| (2 * pair + 1, 2 * pair + 2)) {
        let made = join!(
            weigh(one, bytes, ms, folder.to_owned()),
            weigh(other, bytes, ms, folder.to_owned())
        );
        right += u32::from(made.0 == bytes_of(one, bytes));
        right += u32::from(made.1 == bytes_of(other, bytes));
    }
    wait_for(&Path::new(folder).join("go"));
    println!("{right} right");
}

/// As many at once as there are workers; gives how many results are right.
#[atlas::spawn]
fn weigh_halves(first: u32, count: u32, bytes: usize, ms: u64, folder: String) -> u32 {
    if count == 1 {
        return u32::from(weigh(first, bytes, ms, folder) == bytes_of(first, bytes));
    }
    let half = count / 2;
    let (one, other) = join!(
        weigh_halves(first, half, bytes, ms, folder.clone()),
        weigh_halves(first + half, count - half, bytes, ms, folder)
    );
    one + other
}

#[atlas::spawn]
fn weigh(index: u32, bytes: usize, ms: u64, folder: String) -> Vec<u8> {
    note(index, Path::new(&folder));
    work(Duration::from_millis(ms));
    bytes_of(index, bytes)
}

/// So many bytes that no other number has (Marsaglia's xorshift).
fn bytes_of(index: u32, bytes: usize) -> Vec<u8> {
    let (mut made, mut state) = (Vec::with_capacity(bytes + 8), u64::from(index) + 1);
    while made.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.to_le_bytes());
    }
    made.truncate(bytes);
    made
}

fn nothing() -> Shared<String> {
    atlas::share(String::new())
}

/// So many bytes that look like chance, and compress to half.
fn data(bytes: usize) -> String {
    let (mut data, mut state) = (String::with_capacity(bytes + 16), 1_u64);
    while data.len() < bytes {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        data += &format!("{:016x}", state.rotate_left(32));
    }
    data.truncate(bytes);
    data
}

/// Runs tasks that wait as [`hold_all`] does, of which one in another process shares data with as many more, which wait for `go` in
/// the second folder. Prints in how many processes those ran.
fn share_from_afar(party: u32, bytes: usize, folder: &str, second: &str) {
    show_work();
    let home = process::id();
    let tasks: Vec<_> = (1..=TASKS_FOR_EACH * party)
        .map(|index| {
            let then = Some((home, bytes, second.to_owned()));
            spawn!(hold(index, party, folder.to_owned(), nothing(), then))
        })
        .collect();
    let processes = tasks.into_iter().map(|task| task.sync().processes).max();
    println!("{} processes", processes.unwrap_or(0));
}

/// Runs tasks that wait until so many run, each in a process of its own, which then read files at the same time: by their URLs, or
/// the job's inputs by their paths. Prints what they have seen, all of it once, and in how many processes.
fn fetch_afar(party: u32, folder: &str, urls: &[&str]) {
    show_work();
    let tasks: Vec<_> = (1..=TASKS_FOR_EACH * party)
        .map(|index| {
            let urls = urls.iter().map(ToString::to_string).collect();
            spawn!(fetch(index, party, folder.to_owned(), urls))
        })
        .collect();
    let (mut seen, mut processes) = (BTreeSet::new(), BTreeSet::new());
    for (process, all) in tasks.into_iter().map(Handle::sync) {
        processes.insert(process);
        seen.extend(all);
    }
    for line in seen {
        println!("{line}");
    }
    println!("{} processes", processes.len());
}

/// Reads the beginning of each file, notes that in the second folder, and waits there for `go`; then does what [`fetch_afar`] does.
fn pin_afar(party: u32, folder: &str, second: &str, urls: &[&str]) -> io::Result<()> {
    for url in urls {
        let mut file = atlas::fs::open(url)?;
        file.read_exact(&mut [0; 10])?;
    }
    let second = Path::new(second);
    fs::write(second.join("read"), "")?;
    wait_for(&second.join("go"));
    fetch_afar(party, folder, urls);
    Ok(())
}

/// Reads the beginnings of files by URL by their paths, notes in the folder which process has, and where, and waits for `go`. Then
/// prints what it reads of those files by and by: of the ones that are open, by their paths, by their URLs.
fn by_paths(folder: &str, urls: &[&str]) -> io::Result<()> {
    let mount = match atlas::fs::mounted() {
        Ok(mount) => mount,
        Err(error) => {
            fs::write(Path::new(folder).join("read"), "")?;
            println!("{error}");
            return Ok(());
        }
    };
    let path = |url: &str| mount.join(url.replacen("://", "/", 1));
    let begun = begin_to_read(urls, |url| fs::File::open(path(url)))?;
    let read = Path::new(folder).join("read");
    let note = read.with_extension("new");
    fs::write(&note, format!("{} {}", process::id(), mount.display()))?;
    fs::rename(&note, &read)?;
    wait_for(&Path::new(folder).join("go"));
    for (url, begun) in urls.iter().zip(begun) {
        println!("open: {}", seen(read_on(begun)));
        println!("path: {}", seen(fs::read(path(url))));
        println!(
            "url: {}",
            seen(atlas::fs::read(url).map_err(io::Error::from))
        );
    }
    Ok(())
}

/// Reads the beginnings of files by URL, notes that in the folder, and waits for `go`. Then prints what it reads of the rest, and of all
/// of them once more.
fn by_urls(folder: &str, urls: &[&str]) -> io::Result<()> {
    let begun = begin_to_read(urls, |url| Ok(atlas::fs::open(url)?))?;
    fs::write(Path::new(folder).join("read"), "")?;
    wait_for(&Path::new(folder).join("go"));
    for (url, begun) in urls.iter().zip(begun) {
        println!("open: {}", seen(read_on(begun)));
        let again = atlas::fs::read(url).map_err(io::Error::from);
        println!("again: {}", seen(again));
    }
    Ok(())
}

/// Prints what is known of files and folders by URL, and the texts that they are.
fn texts(urls: &[&str]) {
    for url in urls {
        let known = spawn!(known(url.to_string()));
        let text = spawn!(text(url.to_string()));
        println!("{}", known.sync());
        println!("{}", text.sync());
    }
}

#[atlas::spawn]
fn known(url: String) -> String {
    match atlas::fs::metadata(&url) {
        Ok(metadata) if metadata.kind == atlas::fs::Kind::Folder => "a folder".to_owned(),
        Ok(metadata) => format!("{:?} stale={}", metadata.len, metadata.stale),
        Err(error) => format!("{:?} {:?}", error.kind(), error.status()),
    }
}

#[atlas::spawn]
fn text(url: String) -> String {
    match atlas::fs::read_to_string(&url) {
        Ok(text) => text,
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

/// Opens files, and reads the beginning of each.
fn begin_to_read<F: io::Read>(
    urls: &[&str],
    open: impl Fn(&str) -> io::Result<F>,
) -> io::Result<Vec<(F, Vec<u8>)>> {
    let begin = |url: &&str| {
        let (mut file, mut bytes) = (open(url)?, vec![0; 10]);
        file.read_exact(&mut bytes)?;
        Ok((file, bytes))
    };
    urls.iter().map(begin).collect()
}

/// All of a file whose beginning has been read.
fn read_on((mut file, mut bytes): (impl io::Read, Vec<u8>)) -> io::Result<Vec<u8>> {
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a test is told of a file.
fn seen(bytes: io::Result<Vec<u8>>) -> String {
    match bytes {
        Ok(bytes) => told(&bytes),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Waits until a test has made a file.
fn wait_for(file: &Path) {
    let end = Instant::now() + PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < end, "the job was left waiting");
        thread::sleep(Duration::from_millis(5));
    }
}

#[atlas::spawn]
fn fetch(index: u32, party: u32, folder: String, urls: Vec<String>) -> (u32, Vec<String>) {
    let folder = PathBuf::from(folder);
    arrive(index, party, &folder);
    (process::id(), urls.iter().map(|url| fetched(url)).collect())
}

/// What this process has seen of a file when it first read it.
fn fetched(url: &str) -> String {
    static SEEN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock().expect("nobody panics with it");
    let read = || match read_either(url) {
        Ok(bytes) => told(&bytes),
        Err(error) => format!("{:?}: {error}", error.kind()),
    };
    seen.entry(url.to_owned()).or_insert_with(read).clone()
}

/// A file by its URL, or an input by its path.
fn read_either(name: &str) -> io::Result<Vec<u8>> {
    if name.contains("://") {
        Ok(atlas::fs::read(name)?)
    } else {
        fs::read(name)
    }
}

/// Work leaves its domain if much of it is expected there, and nothing is seen of what sleeps before it ends: so this works, until
/// another process has taken part.
fn show_work() {
    let idle = || spawn!(hold(0, 0, String::new(), nothing(), None));
    let run_apart = || {
        let both = (idle(), idle());
        both.0.sync().process != both.1.sync().process
    };
    (0..ROUNDS_MAX).find(|_| run_apart());
}

/// What a task has seen that waited.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Held {
    index: u32,
    process: u32,
    seen: u64,
    /// In so many processes those ran that it has shared data with.
    processes: usize,
}

/// Where a task that runs is no home, how many bytes the first such one shares then, and the folder for those that it shares with.
type Then = Option<(u32, usize, String)>;

/// Notes in the folder that it runs, as `INDEX-PROCESS`, and waits until so many do, or until there is a file `go`.
#[atlas::spawn]
fn hold(index: u32, party: u32, folder: String, data: Shared<String>, then: Then) -> Held {
    let mut held = Held {
        index,
        process: process::id(),
        seen: digest(data.as_bytes()),
        processes: 0,
    };
    if index == 0 {
        work(WORK);
        return held;
    }
    let process = held.process;
    arrive(index, party, Path::new(&folder));
    if let Some((home, bytes, second)) = then
        && home != process
        && fs::File::create_new(format!("{second}.begun")).is_ok()
    {
        let data = atlas::share(self::data(bytes));
        (_, held.processes) = run_all(TASKS_FOR_EACH * party, 0, &second, &data);
    }
    held
}

/// Notes in the folder that a task runs, and waits until so many do, or until there is a file `go`.
fn arrive(index: u32, party: u32, folder: &Path) {
    note(index, folder);
    let end = Instant::now() + PATIENCE;
    while !folder.join("go").exists() && (party == 0 || present(folder) < party) {
        assert!(Instant::now() < end, "task {index} was left waiting");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Notes in the folder that a task runs, as `INDEX-PROCESS`.
fn note(index: u32, folder: &Path) {
    let mark = folder.join(format!("{index}-{}", process::id()));
    fs::write(mark, "").expect("the test has made the folder");
}

/// Keeps a processor busy.
fn work(span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

fn present(folder: &Path) -> u32 {
    let entries = fs::read_dir(folder).map_or(0, |entries| entries.count());
    u32::try_from(entries).unwrap_or(u32::MAX)
}

/// Far longer than a message between two nodes of one machine takes.
const WORK: Duration = Duration::from_millis(300);
/// Who is asked for work from afar must have more of it than its own workers do in the time of the way.
const TASKS_FOR_EACH: u32 = 10;
const LARGE_FOR_EACH: u32 = 3;
const ROUNDS_MAX: u32 = 50;
/// Longer than the tests wait.
const PATIENCE: Duration = Duration::from_secs(120);
