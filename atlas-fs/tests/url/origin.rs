//! An origin that does what a test wants: answers with a certain status, too few bytes, too many, too slowly, or not at all.
//!
//! It writes its answers byte by byte, since a library for servers takes care that what it says of a body is true.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::rustls;
use url::Url;

/// A server on a port of its own.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    site: Arc<Site>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct Site {
    resources: Mutex<HashMap<String, Resource>>,
    log: Mutex<Vec<Logged>>,
    bytes: AtomicUsize,
    now: AtomicUsize,
    at_once_max: AtomicUsize,
}

/// What lies at a path, and how it is served.
#[derive(Clone, Default)]
pub(crate) struct Resource {
    pub(crate) body: Arc<Vec<u8>>,
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) moods: Vec<Mood>,
}

/// How it misbehaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers with this.
    Status(u16),
    /// Answers so for so many times, and well after that.
    StatusTimes(u16, usize),
    /// The connection ends after so many bytes of a body.
    Truncate(usize),
    /// The same, but once.
    TruncateOnce(usize),
    /// Says that there are so many bytes more than there are.
    TooLong(usize),
    /// Says that there are so many bytes fewer.
    TooShort(usize),
    /// Knows no ranges.
    NoRanges,
    /// Does not know what If-Match and the like mean.
    NoConditions,
    /// Sends in chunks, without a length.
    Chunked,
    /// Refuses HEAD.
    NoHead,
    /// Leads elsewhere.
    Redirect(String),
    /// A byte at a time, so many milliseconds apart.
    Drip(u64),
    /// The same of what comes before the body.
    DripHead(u64),
    /// Takes so many milliseconds to answer.
    Late(u64),
    /// Sends so many bytes a millisecond.
    Pace(usize),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, None)
    }

    /// With TLS, as the host of this name; and the certificate, in PEM, that is to be trusted.
    pub(crate) async fn start_tls(name: &str) -> (Self, Vec<u8>) {
        let key = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                key.signing_key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self::on(listener, Some(Arc::new(config).into()));
        (origin, key.cert.pem().into_bytes())
    }

    fn on(listener: TcpListener, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let address = listener.local_addr().unwrap();
        let site = Arc::new(Site::default());
        let served = site.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (site, tls) = (served.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &site).await;
                            }
                        }
                        None => serve(stream, &site).await,
                    }
                });
            }
        });
        Self {
            address,
            site,
            accepting,
        }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    /// A file with a strong ETag.
    pub(crate) fn put(&self, path: &str, body: Vec<u8>) {
        let etag = format!("\"{}\"", blake3_of(&body));
        let resource = Resource {
            body: Arc::new(body),
            etag: Some(etag),
            ..Resource::default()
        };
        self.place(path, resource);
    }

    pub(crate) fn put_as(&self, path: &str, body: Vec<u8>, moods: &[Mood]) {
        self.put(path, body);
        self.change(path, |resource| resource.moods = moods.to_vec());
    }

    pub(crate) fn place(&self, path: &str, resource: Resource) {
        self.resources().insert(path.to_owned(), resource);
    }

    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Resource)) {
        change(self.resources().get_mut(path).unwrap());
    }

    fn resources(&self) -> MutexGuard<'_, HashMap<String, Resource>> {
        self.site.resources.lock().unwrap()
    }

    pub(crate) fn log(&self) -> Vec<Logged> {
        self.site.log.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.site.log.lock().unwrap().len()
    }

    /// Bytes of bodies that were sent.
    pub(crate) fn bytes(&self) -> usize {
        self.site.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn at_once_max(&self) -> usize {
        self.site.at_once_max.load(Ordering::Relaxed)
    }

    /// Nobody answers any more.
    pub(crate) async fn stop(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn blake3_of(body: &[u8]) -> String {
    blake3::hash(body).to_hex()[..16].to_owned()
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, site: &Site) {
    while let Some(request) = read_request(&mut stream).await {
        let now = site.now.fetch_add(1, Ordering::Relaxed) + 1;
        site.at_once_max.fetch_max(now, Ordering::Relaxed);
        site.log.lock().unwrap().push(request.clone());
        let resource = site.resources.lock().unwrap().get(&request.path).cloned();
        let goes_on = match resource {
            Some(resource) => answer(&mut stream, site, &request, &resource).await,
            None => send_head(&mut stream, 404, &[("content-length", "0".to_owned())]).await,
        };
        site.now.fetch_sub(1, Ordering::Relaxed);
        if !goes_on {
            return;
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Logged> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Logged {
        method,
        path,
        headers,
    })
}

/// Gives whether the connection goes on.
async fn answer<S: AsyncWrite + Unpin>(
    stream: &mut S,
    site: &Site,
    request: &Logged,
    resource: &Resource,
) -> bool {
    let has = |mood| resource.moods.contains(&mood);
    let head_only = request.method == "HEAD";
    if let Some(status) = status_of(site, request, resource) {
        return send_head(stream, status, &[("content-length", "0".to_owned())]).await;
    }
    for mood in &resource.moods {
        match mood {
            Mood::Late(millis) => tokio::time::sleep(Duration::from_millis(*millis)).await,
            Mood::DripHead(millis) => return drip_head(stream, *millis).await,
            Mood::Redirect(to) => {
                let headers = [("location", to.clone()), ("content-length", "0".to_owned())];
                return send_head(stream, 302, &headers).await;
            }
            _ => {}
        }
    }
    let mut headers = resource.headers.clone();
    headers.extend(resource.etag.clone().map(|etag| ("etag", etag)));
    headers.extend(
        resource
            .modified
            .clone()
            .map(|date| ("last-modified", date)),
    );
    let length = resource.body.len();
    if !has(Mood::NoConditions) {
        let asked = |name: &str| request.headers.get(name).cloned();
        let wrong = asked("if-match").is_some_and(|etag| Some(etag) != resource.etag)
            || asked("if-unmodified-since").is_some_and(|date| Some(date) != resource.modified);
        let same = match asked("if-none-match") {
            Some(etag) => Some(etag) == resource.etag,
            None => asked("if-modified-since").is_some_and(|date| Some(date) == resource.modified),
        };
        if wrong || same {
            headers.push(("content-length", "0".to_owned()));
            return send_head(stream, if wrong { 412 } else { 304 }, &headers).await;
        }
    }
    let range = request
        .headers
        .get("range")
        .filter(|_| !has(Mood::NoRanges));
    let (status, from, to) = match range.map(|range| range_of(range, length)) {
        Some(Some((from, to))) => (206, from, to),
        Some(None) => {
            headers.push(("content-range", format!("bytes */{length}")));
            headers.push(("content-length", "0".to_owned()));
            return send_head(stream, 416, &headers).await;
        }
        None => (200, 0, length),
    };
    if status == 206 {
        headers.push(("content-range", format!("bytes {from}-{}/{length}", to - 1)));
    }
    let chunked = has(Mood::Chunked);
    if chunked {
        headers.push(("transfer-encoding", "chunked".to_owned()));
    } else {
        headers.push((
            "content-length",
            said_length(resource, to - from).to_string(),
        ));
    }
    if !send_head(stream, status, &headers).await || head_only {
        return head_only;
    }
    send_body(stream, site, request, resource, from..to, chunked).await
}

fn status_of(site: &Site, request: &Logged, resource: &Resource) -> Option<u16> {
    resource.moods.iter().find_map(|mood| match mood {
        Mood::Status(status) => Some(*status),
        Mood::NoHead if request.method == "HEAD" => Some(405),
        Mood::StatusTimes(status, times) => {
            let log = site.log.lock().unwrap();
            let before = log
                .iter()
                .filter(|other| other.path == request.path)
                .count();
            (before <= *times).then_some(*status)
        }
        _ => None,
    })
}

fn said_length(resource: &Resource, length: usize) -> usize {
    let mut said = length;
    for mood in &resource.moods {
        match mood {
            Mood::TooLong(more) => said += more,
            Mood::TooShort(fewer) => said -= fewer,
            _ => {}
        }
    }
    said
}

fn range_of(range: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, last): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
    (from < length).then(|| (from, length.min(last + 1)))
}

async fn send_head<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: u16,
    headers: &[(&'static str, String)],
) -> bool {
    let mut text = format!("HTTP/1.1 {status} So\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).await.is_ok()
}

/// Comes to no end before nobody listens any more.
async fn drip_head<S: AsyncWrite + Unpin>(stream: &mut S, millis: u64) -> bool {
    let begin = b"HTTP/1.1 200 So\r\n".iter();
    for byte in begin.chain(b"x-more: more\r\n".iter().cycle()) {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    false
}

async fn send_body<S: AsyncWrite + Unpin>(
    stream: &mut S,
    site: &Site,
    request: &Logged,
    resource: &Resource,
    range: std::ops::Range<usize>,
    chunked: bool,
) -> bool {
    let mut body = &resource.body[range];
    let mut cut = false;
    let (mut piece, mut pause) = (64 << 10, 0);
    for mood in &resource.moods {
        match mood {
            Mood::Truncate(after) => (body, cut) = (&body[..body.len().min(*after)], true),
            Mood::TruncateOnce(after) => {
                let log = site.log.lock().unwrap();
                if log
                    .iter()
                    .filter(|other| other.path == request.path)
                    .count()
                    == 1
                {
                    (body, cut) = (&body[..body.len().min(*after)], true);
                }
            }
            Mood::Drip(millis) => (piece, pause) = (1, *millis),
            Mood::Pace(bytes) => (piece, pause) = (*bytes, 1),
            Mood::TooShort(fewer) => (body, cut) = (&body[..body.len() - fewer], true),
            Mood::TooLong(_) => cut = true,
            _ => {}
        }
    }
    for part in body.chunks(piece) {
        let framed = if chunked {
            [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()
        } else {
            part.to_vec()
        };
        if stream.write_all(&framed).await.is_err() {
            return false;
        }
        site.bytes.fetch_add(part.len(), Ordering::Relaxed);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
    if chunked && !cut {
        return stream.write_all(b"0\r\n\r\n").await.is_ok();
    }
    !cut
}
