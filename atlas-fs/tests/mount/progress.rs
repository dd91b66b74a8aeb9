//! Who shows how far a file is read hears of the end, however it comes.

use std::fs::File;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atlas_fs::url::mount::Progress;

use crate::bed::Bed;
use crate::origin;

/// What was told: the file, how far, and of how much.
type Told = Arc<Mutex<Vec<(String, u64, u64)>>>;

const BYTES: usize = 16 << 20;

fn bed() -> Option<(Bed, Told)> {
    let told = Told::default();
    let telling = Arc::clone(&told);
    let bed = Bed::new(|_, mount| {
        mount.passthrough = false;
        mount.progress = Some(Progress(Arc::new(move |url, to, length| {
            let told = (url.to_string(), to, length);
            telling.lock().unwrap().push(told);
        })));
    })?;
    Some((bed, told))
}

/// Whether all that was begun has ended, after a moment: the kernel says later that a file is closed.
fn has_ended(told: &Told, url: &str) -> bool {
    let begun = Instant::now();
    loop {
        let last = {
            let told = told.lock().unwrap();
            told.iter().rfind(|(other, ..)| other == url).cloned()
        };
        let (_, to, length) = last.expect("it was begun");
        if to == length {
            return true;
        }
        if begun.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::yield_now();
    }
}

#[test]
fn regression_progress_ends_where_a_file_is_closed_in_its_middle() {
    let Some((bed, told)) = bed() else {
        return;
    };
    for number in 0..10 {
        let path = format!("/{number}");
        bed.origin
            .put(&path, origin::File::new(vec![number; BYTES]));
        let mut file = File::open(bed.at(&path[1..])).unwrap();
        file.read_exact(&mut [0; 1000]).unwrap();
        drop(file);
        assert!(has_ended(&told, &bed.origin.url(&path)), "{told:?}");
    }
}

#[test]
fn regression_progress_ends_where_a_file_becomes_whole_while_it_is_read() {
    let Some((bed, told)) = bed() else {
        return;
    };
    bed.origin.put("/x", origin::File::new(vec![7; BYTES]));
    let mut file = File::open(bed.at("x")).unwrap();
    let mut whole = Vec::new();
    file.read_to_end(&mut whole).unwrap();
    assert_eq!(whole.len(), BYTES);
    assert!(has_ended(&told, &bed.origin.url("/x")), "{told:?}");
    drop(file);
}
