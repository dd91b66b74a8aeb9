//! Counting the words of all files below a folder, which is a URL or a path.
//!
//! A folder's entries are split by halves, and so are long files, so that thieves get large pieces. A word is a run of letters and
//! digits, where every character beyond ASCII counts as a letter; capitals of ASCII are small letters.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use atlas::prelude::*;
use serde::{Deserialize, Serialize};

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often each word is there.
    pub words: BTreeMap<String, u64>,
}

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// By `atlas::fs`: places are URLs.
    Url,
    /// By the paths that programs have always known. Those that begin with `/atlas/` are below wherever files by URL are mounted.
    Path,
}

/// Something to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// All below a folder; its place ends in a slash.
    Folder(String),
    /// Those words of a file that begin in a range of its bytes.
    Range {
        /// The file.
        place: String,
        /// Where the range begins.
        begin: u64,
        /// Where it ends.
        end: u64,
    },
}

/// Counts in tasks. What goes wrong is told in words.
///
/// # Errors
/// A folder or file cannot be read.
pub fn count(by: By, folder: &str) -> Result<Counts, String> {
    count_pieces(by, vec![Piece::Folder(folder.to_owned())])
}

/// Counts one after the other.
///
/// # Errors
/// As of [`count`].
pub fn count_sequential(by: By, folder: &str) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut pieces = vec![Piece::Folder(folder.to_owned())];
    while let Some(piece) = pieces.pop() {
        match piece {
            Piece::Folder(place) => pieces.extend(by.entries(&place)?),
            Piece::Range { place, begin, end } => counts.add(by.count_range(&place, begin, end)?),
        }
    }
    Ok(counts)
}

/// Counts several pieces, the halves of them at the same time.
#[atlas::spawn]
pub fn count_pieces(by: By, mut pieces: Vec<Piece>) -> Result<Counts, String> {
    if pieces.len() > 1 {
        let rest = pieces.split_off(pieces.len() / 2);
        let (one, other) = join!(count_pieces(by, pieces), count_pieces(by, rest));
        let mut counts = one?;
        counts.add(other?);
        return Ok(counts);
    }
    match pieces.pop() {
        None => Ok(Counts::default()),
        Some(Piece::Folder(place)) => count_pieces(by, by.entries(&place)?),
        Some(Piece::Range { place, begin, end }) => by.count_range(&place, begin, end),
    }
}

impl Counts {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        if self.words.is_empty() {
            self.words = other.words;
            return;
        }
        for (word, times) in other.words {
            *self.words.entry(word).or_default() += times;
        }
    }

    /// All words, those that are there often as often.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.words.values().sum()
    }

    /// The words that are there most often, those first; of equal ones the first in the alphabet.
    #[must_use]
    pub fn most(&self, count: usize) -> Vec<(&str, u64)> {
        let mut words: Vec<(&str, u64)> = Vec::new();
        words.extend(
            self.words
                .iter()
                .map(|(word, times)| (word.as_str(), *times)),
        );
        words.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        words.truncate(count);
        words
    }
}

impl By {
    /// What there is to count in a folder.
    fn entries(self, folder: &str) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        match self {
            Self::Url => {
                let entries = atlas::fs::list(folder).map_err(|error| error.to_string())?;
                for entry in entries {
                    let place = format!("{folder}{}", encoded(&entry.name));
                    if entry.kind == atlas::fs::Kind::Folder {
                        pieces.push(Piece::Folder(format!("{place}/")));
                        continue;
                    }
                    let length = match entry.len {
                        Some(length) => length,
                        // Not all listings tell it.
                        None => atlas::fs::open(&place)
                            .map_err(|error| error.to_string())?
                            .len(),
                    };
                    pieces.extend(ranges(&place, length));
                }
            }
            Self::Path => {
                let read = || -> io::Result<Vec<Piece>> {
                    let mut pieces = Vec::new();
                    let mut entries =
                        fs::read_dir(here(folder)?)?.collect::<io::Result<Vec<_>>>()?;
                    entries.sort_by_key(fs::DirEntry::file_name);
                    for entry in entries {
                        let place = format!("{folder}{}", entry.file_name().to_string_lossy());
                        if entry.file_type()?.is_dir() {
                            pieces.push(Piece::Folder(format!("{place}/")));
                        } else {
                            pieces.extend(ranges(&place, entry.metadata()?.len()));
                        }
                    }
                    Ok(pieces)
                };
                pieces = read().map_err(|error| format!("cannot read {folder}: {error}"))?;
            }
        }
        Ok(pieces)
    }

    fn count_range(self, place: &str, begin: u64, end: u64) -> Result<Counts, String> {
        let counted = match self {
            Self::Url => atlas::fs::open(place)
                .map_err(io::Error::from)
                .and_then(|file| count_words(file, begin, end)),
            Self::Path => here(place)
                .and_then(File::open)
                .and_then(|file| count_words(file, begin, end)),
        };
        let words = counted.map_err(|error| format!("cannot read {place}: {error}"))?;
        Ok(Counts {
            files: u64::from(begin == 0),
            bytes: end - begin,
            words,
        })
    }
}

/// Where a path leads on this machine: servers that may not mount at `/atlas` mount in another folder, each in its own.
fn here(place: &str) -> io::Result<PathBuf> {
    let Some(below) = place.strip_prefix("/atlas/") else {
        return Ok(place.into());
    };
    match atlas::fs::mounted() {
        Ok(folder) => Ok(folder.join(below)),
        // Somebody has mounted there for all who run alone.
        Err(_) if fs::exists(place).unwrap_or(false) => Ok(place.into()),
        Err(error) => Err(error.into()),
    }
}

/// The ranges that a file is counted in: as equal as can be. An empty file has one, too.
fn ranges(place: &str, length: u64) -> impl Iterator<Item = Piece> {
    let count = length.div_ceil(RANGE_BYTES).max(1);
    (0..count).map(move |index| Piece::Range {
        place: place.to_owned(),
        begin: length / count * index,
        end: if index + 1 == count {
            length
        } else {
            length / count * (index + 1)
        },
    })
}

/// Counts the words that begin in the range.
///
/// # Errors
/// The file cannot be read.
pub fn count_words(
    mut file: impl Read + Seek,
    begin: u64,
    end: u64,
) -> io::Result<BTreeMap<String, u64>> {
    // A word that begins before the range is another's.
    let from = begin.saturating_sub(1);
    file.seek(SeekFrom::Start(from))?;
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    let mut word = Vec::new();
    let mut position = from;
    // Within a word that is not counted.
    let mut foreign = begin > 0;
    loop {
        let buffer = file.fill_buf()?;
        let ended = buffer.is_empty();
        // What follows the file ends its last word.
        let bytes = if ended { &b" "[..] } else { buffer };
        let mut used = 0;
        for &byte in bytes {
            used += 1;
            position += 1;
            if is_of_word(byte) {
                if !foreign {
                    word.push(byte.to_ascii_lowercase());
                }
                continue;
            }
            foreign = false;
            if !word.is_empty() {
                let text = String::from_utf8_lossy(&word).into_owned();
                *words.entry(text).or_default() += 1;
                word.clear();
            }
            // The next word would begin beyond the range.
            if position >= end {
                return Ok(words);
            }
        }
        if ended {
            return Ok(words);
        }
        file.consume(used);
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// A name as a part of a URL's path.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Some tens of milliseconds of work.
const RANGE_BYTES: u64 = 4 << 20;
const BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn counted(text: &str, begin: u64, end: u64) -> BTreeMap<String, u64> {
        count_words(Cursor::new(text), begin, end).unwrap()
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let words = counted("The cat, the 2 CATS; Äpfel.the", 0, 32);
        let expected = [("2", 1), ("cat", 1), ("cats", 1), ("the", 3), ("Äpfel", 1)];
        let expected = expected.map(|(word, times)| (word.to_owned(), times));
        assert_eq!(words, BTreeMap::from(expected));
        assert_eq!(counted("", 0, 0), BTreeMap::new());
    }

    #[test]
    fn files_are_cut_into_ranges_without_gaps() {
        for length in [0, 1, RANGE_BYTES, RANGE_BYTES + 1, 7 * RANGE_BYTES + 5] {
            let mut at = 0;
            for piece in ranges("x", length) {
                let Piece::Range { begin, end, .. } = piece else {
                    panic!("a folder");
                };
                assert_eq!(begin, at);
                assert!(end - begin <= RANGE_BYTES);
                at = end;
            }
            assert_eq!(at, length);
        }
    }

    #[test]
    fn names_are_encoded_for_urls() {
        assert_eq!(encoded("a b%/ü.txt"), "a%20b%25%2F%C3%BC.txt");
    }

    proptest! {
        #[test]
        fn each_word_is_counted_in_one_range(text in "[ab ,ü]{0,40}", cuts in proptest::collection::vec(0_u64..60, 0..4)) {
            let length = text.len() as u64;
            let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut.min(length)).collect();
            cuts.extend([0, length]);
            cuts.sort_unstable();
            let mut sum = Counts::default();
            for pair in cuts.windows(2) {
                // An empty range at the beginning has the words that begin there twice.
                if pair[0] < pair[1] {
                    let words = counted(&text, pair[0], pair[1]);
                    sum.add(Counts { words, ..Counts::default() });
                }
            }
            prop_assert_eq!(sum.words, counted(&text, 0, length));
        }
    }
}
