//! Shared values in every form, within one process.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use atlas_engine::limits::SHARED_NAMES_MAX;

use super::*;

fn send<T: Serialize + Send + Sync + 'static>(shared: &Shared<T>) -> Vec<u8> {
    postcard::to_allocvec(shared).unwrap()
}

fn receive<T: DeserializeOwned + Send + Sync + 'static>(sent: &[u8]) -> Shared<T> {
    postcard::from_bytes(sent).unwrap()
}

#[test]
fn value_arrives_equal_and_is_decoded_once() {
    let sent = send(&share("value_arrives".to_owned()));
    let [first, second] = [receive::<String>(&sent), receive(&sent)];
    assert_eq!(*first, "value_arrives");
    assert!(Shared::is_same(&first, &second));
    assert_eq!(send(&first), sent);
}

#[test]
fn value_that_comes_back_is_the_one_that_was_sent() {
    let value = share("value_comes_back".to_owned());
    let back: Shared<String> = receive(&send(&value));
    assert!(Shared::is_same(&back, &value));
}

#[test]
fn value_is_encoded_once() {
    static ENCODED: AtomicUsize = AtomicUsize::new(0);
    struct Counting;
    impl Serialize for Counting {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            ENCODED.fetch_add(1, Ordering::Relaxed);
            serializer.serialize_unit()
        }
    }
    let shared = share(Counting);
    assert_eq!(send(&shared), send(&shared.clone()));
    assert_eq!(ENCODED.load(Ordering::Relaxed), 1);
}

#[test]
fn equal_bytes_of_two_types_are_two_values() {
    let sent = send(&share(7_u8));
    let number: Shared<u8> = receive(&sent);
    let boxed: Shared<Box<u8>> = receive(&sent);
    assert_eq!((*number, **boxed), (7, 7));
}

#[test]
fn false_hash_is_refused() {
    let mut sent = send(&share("false_hash".to_owned()));
    *sent.last_mut().unwrap() ^= 1;
    let error = postcard::from_bytes::<Shared<String>>(&sent);
    assert!(error.is_err());
}

#[test]
fn shared_values_may_hold_shared_values() {
    let inner = share(vec![1_u32, 2]);
    let outer = share([inner.clone(), inner]);
    let received: Shared<[Shared<Vec<u32>>; 2]> = receive(&send(&outer));
    assert_eq!(*received, *outer);
    assert!(Shared::is_same(&received[0], &received[1]));
}

#[test]
fn threads_that_decode_together_get_one_value() {
    let sent = send(&share(vec![3_u64; 10_000]));
    let received: Vec<Shared<Vec<u64>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| receive(&sent))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        received
            .iter()
            .all(|one| Shared::is_same(one, &received[0]))
    );
}

/// A folder for all tests that write values into files, as long as one of them runs.
struct Place;

static USERS: Mutex<usize> = Mutex::new(0);

impl Place {
    fn new() -> Self {
        let mut users = USERS.lock().unwrap();
        if *users == 0 {
            fs::create_dir_all(Self::path()).unwrap();
        }
        *users += 1;
        set_folder(Self::path());
        Self
    }

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("atlas-shared-{}", std::process::id()))
    }

    fn file(name: SharedName) -> PathBuf {
        spill::path(&Self::path(), name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = USERS.lock().unwrap();
        *users -= 1;
        if *users == 0 {
            let _ = fs::remove_dir_all(Self::path());
        }
    }
}

/// What leaves to a server, and what it names.
fn leave<T: Serialize + Send + Sync + 'static>(shared: &Shared<T>) -> (Vec<u8>, Vec<SharedName>) {
    leaving(|| send(shared))
}

fn large(what: &str) -> String {
    what.repeat(100_000)
}

#[test]
fn large_value_leaves_by_its_name_and_its_bytes_in_a_file() {
    let _place = Place::new();
    let shared = share(large("leaves"));
    let (sent, names) = leave(&shared);
    assert_eq!(sent.len(), 33, "a hash, and no bytes");
    let bytes = postcard::to_allocvec(&large("leaves")).unwrap();
    assert_eq!(names, [SharedName(*blake3::hash(&bytes).as_bytes())]);
    assert!(fs::read(Place::file(names[0])).unwrap() == bytes);
    assert!(take_new().contains(&names[0]));
    assert!(shared.0.whole.get().is_none(), "no bytes in memory");
    // Once for the process, whoever sends it how often.
    assert_eq!(leave(&shared.clone()), (sent, names.clone()));
    drop(shared);
    let equal = share(large("leaves"));
    assert_eq!(leave(&equal).1, names);
    assert!(!take_new().contains(&names[0]));
    // Elsewhere it goes with all its bytes, as ever, but an engine does not keep them.
    assert!(send(&equal).len() > bytes.len());
    assert!(equal.0.whole.get().is_none());
}

/// A worker that named a result and the thread that lends wrote it twice, and told the server twice.
#[test]
fn regression_value_is_written_once_by_threads_that_need_it_at_once() {
    static ENCODED: AtomicUsize = AtomicUsize::new(0);
    struct Slow;
    impl Serialize for Slow {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            ENCODED.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(100));
            serializer.serialize_bytes(&[7; 2 * WITHIN_BYTES_MAX])
        }
    }
    let _place = Place::new();
    let shared = share(Slow);
    let sent = std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| leave(&shared)));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(ENCODED.load(Ordering::SeqCst), 1);
    let (bytes, names) = &sent[0];
    assert!(
        sent.iter()
            .all(|other| other == &(bytes.clone(), names.clone()))
    );
    let told = take_new();
    assert_eq!(told.iter().filter(|name| **name == names[0]).count(), 1);
}

#[test]
fn named_value_is_read_from_its_file_and_decoded_once() {
    let _place = Place::new();
    let (sent, names) = leave(&share(large("read")));
    let [first, second] = [receive::<String>(&sent), receive(&sent)];
    assert!(*first == large("read"));
    assert!(Shared::is_same(&first, &second));
    assert_eq!(leave(&first), (sent.clone(), names.clone()));
    // What is here already needs no file.
    fs::remove_file(Place::file(names[0])).unwrap();
    assert!(Shared::is_same(&receive(&sent), &first));
}

#[test]
fn small_value_stays_within_what_leaves() {
    let _place = Place::new();
    let shared = share(vec![7_u8; WITHIN_BYTES_MAX - 2]);
    assert_eq!(leave(&shared), (send(&shared), Vec::new()));
    let larger = share(vec![7_u8; WITHIN_BYTES_MAX - 1]);
    assert_eq!(leave(&larger).1.len(), 1);
}

#[test]
fn values_within_values_are_named_too_and_so_by_whoever_sends_them_on() {
    let _place = Place::new();
    type Inner = Shared<String>;
    let inner = share(large("inner"));
    let small = share((1_u8, inner.clone()));
    let outer = share((vec![2_u8; 50_000], small, inner.clone()));
    let (sent, names) = leave(&outer);
    assert_eq!(sent.len(), 33);
    assert_eq!(names.len(), 2, "the inner and the outer: {names:?}");
    let (small_sent, small_names) = leave(&outer.1);
    assert_eq!(small_names, leave(&inner).1);
    drop((outer, inner));

    type Outer = (Vec<u8>, Shared<(u8, Inner)>, Inner);
    let received: Shared<Outer> = receive(&sent);
    assert!(*received.2 == large("inner"));
    assert!(Shared::is_same(&received.2, &received.1.1));
    assert_eq!(leave(&received), (sent, names.clone()));
    assert_eq!(leave(&received.1), (small_sent, small_names));
    // Another value that came to hold what was decoded before.
    let (again, _) = leave(&share((3_u8, received.1.clone(), vec![4_u8; 50_000])));
    type Holder = (u8, Shared<(u8, Inner)>, Vec<u8>);
    let held: Shared<Holder> = receive(&again);
    assert_eq!(leave(&held).1.len(), 2);
}

#[test]
fn damaged_file_is_refused() {
    let _place = Place::new();
    let (sent, names) = leave(&share(large("damaged")));
    let file = Place::file(names[0]);
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[1000] ^= 1;
    for content in [
        Some(damaged),
        Some(whole[..5000].to_vec()),
        Some(Vec::new()),
        None,
    ] {
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        assert!(postcard::from_bytes::<Shared<String>>(&sent).is_err());
    }
    fs::write(&file, whole).unwrap();
    assert!(*receive::<String>(&sent) == large("damaged"));
}

#[test]
fn what_cannot_be_named_any_more_goes_with_its_bytes() {
    let _place = Place::new();
    let number = |number: usize| share((number, large("many")));
    let all: Vec<_> = (0..=SHARED_NAMES_MAX).map(number).collect();
    let (sent, names) = leaving(|| postcard::to_allocvec(&all).unwrap());
    assert_eq!(names.len(), SHARED_NAMES_MAX);
    assert!(sent.len() > large("many").len() && sent.len() < 2 * large("many").len());
    let back: Vec<Shared<(usize, String)>> = postcard::from_bytes(&sent).unwrap();
    assert!(back == all);
    // One value with more of them than a closure can name takes the rest into its own file.
    let (sent, names) = leave(&share(all));
    assert_eq!((sent.len(), names.len()), (33, SHARED_NAMES_MAX));
}

#[test]
fn encoding_that_fails_leaves_nothing_behind() {
    struct Failing;
    impl Serialize for Failing {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut tuple = serializer.serialize_tuple(2)?;
            tuple.serialize_element(&vec![1_u8; 200_000])?;
            Err(ser::Error::custom("no"))
        }
    }
    let _place = Place::new();
    let (sent, names) = leaving(|| postcard::to_allocvec(&share(Failing)));
    assert!(sent.is_err() && names.is_empty());
    assert!(!apart::is_leaving());
}
