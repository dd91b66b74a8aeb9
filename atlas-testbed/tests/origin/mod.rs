//! An origin of files by URL, within the test's process, and what it may have.
#![allow(dead_code, reason = "each test that has this module uses some of it")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// An origin on a port of its own.
pub(crate) struct Origin {
    address: SocketAddr,
    site: Arc<Site>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Site {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Bytes of bodies that were sent, by path.
    sent: Mutex<BTreeMap<String, usize>>,
    /// What has to be said of who asks.
    authorization: Mutex<Option<&'static str>>,
    ends: AtomicBool,
}

impl Origin {
    /// One that has these files.
    pub(crate) fn new<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let site = Arc::new(Site::default());
        let files = files
            .into_iter()
            .map(|(path, body)| (path.to_owned(), body));
        site.files.lock().unwrap().extend(files);
        let served = site.clone();
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if served.ends.load(Ordering::SeqCst) {
                    return;
                }
                let site = served.clone();
                thread::spawn(move || site.answer(&stream.unwrap()));
            }
        });
        Self {
            address,
            site,
            accepting: Some(accepting),
        }
    }

    /// Of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Another version of a file.
    pub(crate) fn replace(&self, path: &str, body: &[u8]) {
        let mut files = self.site.files.lock().unwrap();
        *files.get_mut(path).unwrap() = body.to_vec();
    }

    /// From now on, only who says this is answered.
    pub(crate) fn admit(&self, authorization: &'static str) {
        *self.site.authorization.lock().unwrap() = Some(authorization);
    }

    /// Bytes of bodies that were sent, by path.
    pub(crate) fn sent(&self) -> BTreeMap<String, usize> {
        self.site.sent.lock().unwrap().clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.site.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.accepting.take().unwrap().join().unwrap();
    }
}

impl Site {
    /// One request, then the connection ends.
    fn answer(&self, mut stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let request = lines.next().unwrap_or_default();
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let mut words = request.split(' ');
        let (method, path) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        if !self.admits(&headers) {
            return refuse(stream, "401 Unauthorized");
        }
        let Some((body, kind)) = self.body(path) else {
            return refuse(stream, "404 Not Found");
        };
        let sum: u64 = body.iter().fold(7, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        let known = format!("if-none-match: \"{sum:x}\"");
        if headers.iter().any(|line| line.eq_ignore_ascii_case(&known)) {
            let head = format!(
                "HTTP/1.1 304 Not Modified\r\nETag: \"{sum:x}\"\r\nCache-Control: max-age=0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            return;
        }
        let range = headers.iter().find_map(|line| {
            let (begin, end) = line
                .to_ascii_lowercase()
                .strip_prefix("range: bytes=")?
                .split_once('-')
                .map(|(begin, end)| (begin.to_owned(), end.to_owned()))?;
            let end = end.parse().map_or(body.len(), |end: usize| end + 1);
            Some((begin.parse().ok()?, end.min(body.len())))
        });
        let (status, part) = match range {
            Some((begin, end)) if begin < end => ("206 Partial Content", begin..end),
            Some(_) => ("416 Range Not Satisfiable", 0..0),
            None => ("200 OK", 0..body.len()),
        };
        let content_range = match range {
            Some(_) if part.is_empty() => format!("Content-Range: bytes */{}\r\n", body.len()),
            Some(_) => format!(
                "Content-Range: bytes {}-{}/{}\r\n",
                part.start,
                part.end - 1,
                body.len()
            ),
            None => String::new(),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{content_range}ETag: \"{sum:x}\"\r\n\
             Cache-Control: max-age=0\r\nConnection: close\r\n\r\n",
            part.len()
        );
        let _ = stream.write_all(head.as_bytes());
        if method != "HEAD" {
            *self
                .sent
                .lock()
                .unwrap()
                .entry(path.to_owned())
                .or_default() += part.len();
            let _ = stream.write_all(&body[part]);
        }
    }

    /// Whether somebody who says this is answered.
    fn admits(&self, headers: &[String]) -> bool {
        let wanted = *self.authorization.lock().unwrap();
        wanted.is_none_or(|wanted| {
            let mut headers = headers.iter().filter_map(|line| line.split_once(": "));
            headers.any(|(name, said)| name.eq_ignore_ascii_case("authorization") && said == wanted)
        })
    }

    /// A file, or what is directly below a folder.
    fn body(&self, path: &str) -> Option<(Vec<u8>, &'static str)> {
        let files = self.files.lock().unwrap();
        if !path.ends_with('/') {
            return files.get(path).map(|body| (body.clone(), "text/plain"));
        }
        let below = files.keys().filter_map(|file| file.strip_prefix(path));
        let names = below.map(|rest| match rest.split_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => rest.to_owned(),
        });
        let names: std::collections::BTreeSet<String> = names.collect();
        let links = names
            .iter()
            .map(|name| format!("<li><a href=\"{name}\">{name}</a></li>\n"));
        let page = format!(
            "<html><title>Directory listing for {path}</title><ul>\n{}</ul></html>",
            links.collect::<String>()
        );
        (!names.is_empty()).then(|| (page.into_bytes(), "text/html; charset=utf-8"))
    }
}

fn refuse(mut stream: &TcpStream, status: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
}

/// Some text, of several sizes.
pub(crate) fn books() -> Vec<(&'static str, Vec<u8>)> {
    let line = |times: usize, text: &str| text.repeat(times).into_bytes();
    vec![
        ("/books/one.txt", line(2000, "The cat and the dog.\n")),
        ("/books/two.txt", line(500, "A dog, a cat; nothing else!\n")),
        ("/books/more/three.txt", line(300_000, "a very long book\n")),
        ("/books/more/empty.txt", Vec::new()),
    ]
}

/// What `wordcount` says of them, of the five words that are there most often.
pub(crate) const COUNTED: &str = "   301000 a
   300000 book
   300000 long
   300000 very
     4000 the
1213000 words, 10 different, in 4 files of 5156000 bytes
";

/// So many bytes that do not repeat.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state.rotate_left(32).to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}
