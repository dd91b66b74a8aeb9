//! A server of files in memory, which lists its folders as nginx does, counts what it is asked for, and misbehaves on request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    IF_MATCH, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// The server, for as long as this is there.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    files: Arc<Mutex<Files>>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Files {
    /// By the paths of URLs, decoded.
    files: BTreeMap<String, File>,
    /// What was asked for, as `GET /x`.
    asked: Vec<String>,
    connections: Vec<tokio::task::AbortHandle>,
    lists: Lists,
}

/// How folders are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(dead_code, reason = "not all tests need another way")]
pub enum Lists {
    #[default]
    AsNginx,
    /// By PROPFIND alone.
    ByDav,
    /// Not at all.
    Nothing,
}

/// A file, or what is there in its place.
#[derive(Clone, Debug)]
pub struct File {
    pub bytes: Bytes,
    pub etag: String,
    pub cache_control: &'static str,
    pub status: u16,
    /// How long nothing is answered.
    pub delay: Duration,
    /// What has to be said of who asks.
    pub authorization: Option<&'static str>,
    /// Said beside the rest.
    pub headers: Vec<(&'static str, String)>,
    /// Nothing is said of which version it is, and all of it is sent whatever range is asked for.
    pub is_nameless: bool,
    /// It is sent in chunks of 64 KiB, so long apart, and nobody is told how many there are.
    pub drip: Option<Duration>,
}

impl File {
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            etag: format!("\"{}\"", blake3::hash(&bytes).to_hex()),
            bytes,
            cache_control: "max-age=60",
            status: 200,
            delay: Duration::ZERO,
            authorization: None,
            headers: Vec::new(),
            is_nameless: false,
            drip: None,
        }
    }
}

impl Origin {
    pub fn start(runtime: &Handle) -> Self {
        let files = Arc::<Mutex<Files>>::default();
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("loopback has ports");
        let address = listener.local_addr().unwrap();
        let accepting = runtime.spawn(accept(listener, Arc::clone(&files)));
        Self {
            address,
            files,
            accepting,
        }
    }

    /// Its name below a mount.
    pub fn path(&self) -> String {
        format!("http/{}", self.address)
    }

    #[allow(dead_code, reason = "not all tests need URLs")]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn put(&self, path: &str, file: File) {
        self.files.lock().unwrap().files.insert(path.into(), file);
    }

    #[allow(dead_code, reason = "not all tests need another way")]
    pub fn list(&self, lists: Lists) {
        self.files.lock().unwrap().lists = lists;
    }

    /// What was asked for since this was asked last.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.files.lock().unwrap().asked)
    }

    /// Nobody answers any more.
    #[allow(dead_code, reason = "not all tests stop it")]
    pub fn stop(&self) {
        self.accepting.abort();
        for connection in &self.files.lock().unwrap().connections {
            connection.abort();
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: TcpListener, files: Arc<Mutex<Files>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let of_connection = Arc::clone(&files);
        let service = hyper::service::service_fn(move |request| {
            let files = Arc::clone(&of_connection);
            async move { Ok::<_, Infallible>(serve(&files, request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut files = files.lock().unwrap();
        files.connections.push(connection.abort_handle());
    }
}

async fn serve(
    files: &Mutex<Files>,
    request: Request<Incoming>,
) -> Response<BoxBody<Bytes, Infallible>> {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    let path = path.into_owned();
    let found = {
        let mut files = files.lock().unwrap();
        files.asked.push(format!("{} {path}", request.method()));
        files.files.get(&path).cloned()
    };
    let Some(file) = found else {
        return listing(files, request.method(), &path).map(Full::boxed);
    };
    tokio::time::sleep(file.delay).await;
    if let Some(pause) = file.drip {
        return dripping(&file, pause, request.method());
    }
    let mut response = if file.is_nameless {
        Response::new(file.bytes.clone().into())
    } else {
        answer(&file, request.headers())
    };
    for (name, value) in &file.headers {
        let value = value.parse().expect("tests say what can be said");
        response.headers_mut().insert(*name, value);
    }
    if request.method() == Method::HEAD {
        let length = response.body().size();
        response
            .headers_mut()
            .insert("content-length", length.into());
    }
    response.map(Full::boxed)
}

/// All of it, as from a program that does not know how much it is about to write.
fn dripping(file: &File, pause: Duration, method: &Method) -> Response<BoxBody<Bytes, Infallible>> {
    let (mut sender, body) = Channel::new(1);
    if method != Method::HEAD {
        let mut rest = file.bytes.clone();
        tokio::spawn(async move {
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(64 << 10));
                // Who asks may have gone.
                if sender.send_data(piece).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        });
    }
    Response::builder()
        .header(ETAG, &file.etag)
        .header(CACHE_CONTROL, file.cache_control)
        .body(body.boxed())
        .unwrap()
}

fn answer(file: &File, asked: &HeaderMap) -> Response<Full<Bytes>> {
    let says = |name, value: &str| asked.get(name).is_some_and(|said| said == value);
    let response = Response::builder()
        .header(ETAG, &file.etag)
        .header(LAST_MODIFIED, "Thu, 26 Nov 2026 17:01:09 GMT")
        .header(CACHE_CONTROL, file.cache_control);
    let length = file.bytes.len();
    let lets_in = file
        .authorization
        .is_none_or(|wanted| says(AUTHORIZATION, wanted));
    let status = if lets_in { file.status } else { 401 };
    if status != 200 {
        return Response::builder()
            .status(status)
            .body(Full::default())
            .unwrap();
    }
    if asked.contains_key(IF_MATCH) && !says(IF_MATCH, &file.etag) {
        let response = response.status(StatusCode::PRECONDITION_FAILED);
        return response.body(Full::default()).unwrap();
    }
    if says(IF_NONE_MATCH, &file.etag) {
        let response = response.status(StatusCode::NOT_MODIFIED);
        return response.body(Full::default()).unwrap();
    }
    let is_current = !asked.contains_key(IF_RANGE) || says(IF_RANGE, &file.etag);
    let range = asked.get(RANGE).and_then(|range| range.to_str().ok());
    let range = range.filter(|_| is_current).and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        let from: usize = from.parse().ok()?;
        let to = to.parse().map_or(length, |to: usize| (to + 1).min(length));
        Some(from..to)
    });
    let Some(range) = range else {
        let response = response.header(ACCEPT_RANGES, "bytes");
        return response.body(file.bytes.clone().into()).unwrap();
    };
    if range.start >= length {
        let response = response
            .status(StatusCode::RANGE_NOT_SATISFIABLE)
            .header(CONTENT_RANGE, format!("bytes */{length}"));
        return response.body(Full::default()).unwrap();
    }
    let said = format!("bytes {}-{}/{length}", range.start, range.end - 1);
    let response = response
        .status(StatusCode::PARTIAL_CONTENT)
        .header(CONTENT_RANGE, said);
    response.body(file.bytes.slice(range).into()).unwrap()
}

/// The folder as nginx lists it; a redirect, if the slash is missing; else nothing.
fn listing(files: &Mutex<Files>, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let files = files.lock().unwrap();
    let folder = format!("{}/", path.trim_end_matches('/'));
    let mut names = BTreeMap::new();
    for (path, file) in files.files.range(folder.clone()..) {
        let Some(name) = path.strip_prefix(&folder) else {
            break;
        };
        match name.split_once('/') {
            Some((name, _)) => names.insert(format!("{name}/"), "-".to_owned()),
            None => names.insert(name.to_owned(), file.bytes.len().to_string()),
        };
    }
    let response = Response::builder();
    if names.is_empty() && folder != "/" {
        let response = response.status(StatusCode::NOT_FOUND);
        return response.body(Full::default()).unwrap();
    }
    if path != folder {
        let response = response.status(StatusCode::MOVED_PERMANENTLY);
        return response
            .header(LOCATION, folder)
            .body(Full::default())
            .unwrap();
    }
    let is_propfind = method.as_str() == "PROPFIND";
    match (files.lists, is_propfind) {
        (Lists::AsNginx, false) => {}
        (Lists::ByDav, true) => return multistatus(&folder, &names),
        _ => return response.status(403).body(Full::default()).unwrap(),
    }
    let mut page = format!(
        "<html>\r\n<body>\r\n<h1>Index of {folder}</h1><hr><pre><a href=\"../\">../</a>\r\n"
    );
    for (name, size) in names {
        let (name, slash) = name
            .strip_suffix('/')
            .map_or((&*name, ""), |name| (name, "/"));
        let href = utf8_percent_encode(name, NON_ALPHANUMERIC);
        page += &format!("<a href=\"{href}{slash}\">?</a>   26-Nov-2026 17:01   {size}\r\n");
    }
    page += "</pre><hr></body>\r\n</html>\r\n";
    response
        .header(CONTENT_TYPE, "text/html")
        .body(Bytes::from(page).into())
        .unwrap()
}

fn multistatus(folder: &str, names: &BTreeMap<String, String>) -> Response<Full<Bytes>> {
    let mut page = "<?xml version=\"1.0\"?><multistatus xmlns=\"DAV:\">".to_owned();
    for (name, size) in names {
        let (name, kind) = match name.strip_suffix('/') {
            Some(name) => (name, "<collection/>"),
            None => (&**name, ""),
        };
        let href = utf8_percent_encode(name, NON_ALPHANUMERIC);
        page += &format!("<response><href>{folder}{href}</href><propstat><prop>");
        page += &format!(
            "<resourcetype>{kind}</resourcetype><getcontentlength>{size}</getcontentlength>"
        );
        page += "</prop><status>HTTP/1.1 200 OK</status></propstat></response>";
    }
    page += "</multistatus>";
    Response::builder()
        .status(207)
        .header(CONTENT_TYPE, "application/xml")
        .body(Bytes::from(page).into())
        .unwrap()
}

/// The length of a body that is whole.
trait Size {
    fn size(&self) -> u64;
}

impl Size for Full<Bytes> {
    fn size(&self) -> u64 {
        hyper::body::Body::size_hint(self)
            .exact()
            .unwrap_or_default()
    }
}
