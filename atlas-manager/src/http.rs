//! Metrics for Prometheus, and a word on health, over HTTP. For this machine's eyes: nothing is encrypted, and nobody proves who
//! they are.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atlas_proto::stats::Stats;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ask::{Ask, Counts};
use crate::core::Core;
use crate::node::StartError;
use crate::store::Trouble;

/// Serves `/metrics` and `/healthz`; gives the address with the port that was taken.
pub(crate) async fn serve(
    address: SocketAddr,
    core: Arc<Core>,
    tasks: &mut JoinSet<()>,
) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Http { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let taken = listener.local_addr().map_err(failed)?;
    tasks.spawn(accept(listener, core));
    Ok(taken)
}

async fn accept(listener: TcpListener, core: Arc<Core>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics cannot be served now");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let core = core.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(request, &core));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = served.await {
                tracing::debug!(%error, "a client of the metrics is gone");
            }
            drop(permit);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    core: &Core,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let counts = counts(core);
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => {
            let answers = counts.await.is_some();
            let (status, text) = health(answers, core.store.trouble().as_ref(), &standing(core));
            (status, TEXT, text)
        }
        (&Method::GET, "/metrics") => match counts.await {
            Some(counts) => (StatusCode::OK, OPEN_METRICS, metrics(&counts)),
            None => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "stopping\n".to_owned(),
            ),
        },
        (&Method::GET, _) => {
            let text = "there is /metrics and /healthz\n".to_owned();
            (StatusCode::NOT_FOUND, TEXT, text)
        }
        _ => (
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// Whoever watches looks at the status; the text says what to do.
fn health(answers: bool, trouble: Option<&Trouble>, standing: &str) -> (StatusCode, String) {
    match (answers, trouble) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
        (true, Some(trouble)) => {
            let text = format!("{trouble}\n{standing}");
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        (true, None) => (StatusCode::OK, format!("ok\n{standing}")),
    }
}

/// None if the manager is ending, or waits to be sure that it acts.
async fn counts(core: &Core) -> Option<Counts> {
    let Some(shared) = core.shared() else {
        // A standby has nothing to count but itself.
        return Some(Counts::default());
    };
    let counts = timeout(COUNTS_TIMEOUT, shared.asker.ask(Ask::Counts)).await;
    counts.ok().flatten()
}

/// What a manager that has a standby, or is one, says of that.
fn standing(core: &Core) -> String {
    let state = core.standing.state();
    let state = state.borrow();
    match (state.acts, state.manager, state.standby) {
        (Some((term, _)), _, Some(standby)) => {
            let voters = state.voters;
            format!(
                "acts in term {}; {standby} stands by, and {voters} children may vote for it\n",
                term.0
            )
        }
        (Some(_), _, None) if state.others.is_empty() => String::new(),
        (Some((term, _)), _, None) => format!("acts in term {}; nobody stands by\n", term.0),
        (None, Some((manager, term)), _) => {
            format!("stands by; {manager} acts in term {}\n", term.0)
        }
        (None, None, _) => "stands by; nobody is known to act\n".to_owned(),
    }
}

/// In the text format of OpenMetrics.
fn metrics(counts: &Counts) -> String {
    let mut registry = Registry::with_prefix("atlas");
    for (name, help, value) in gauges(counts) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        registry.register(name, help, ConstGauge::new(value));
    }
    for (name, help, value) in counters(&counts.stats)
        .into_iter()
        .chain(blobs(counts))
        .chain(urls(counts))
    {
        registry.register(name, help, ConstCounter::<u64>::new(value));
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

type Metric = (&'static str, &'static str, u64);

#[rustfmt::skip]
fn gauges(counts: &Counts) -> [Metric; 11] {
    [
        ("acting", "1 if this manager acts, 0 if it stands by", counts.acting),
        ("servers", "Servers of the domain", counts.servers),
        ("sub_domains", "Domains directly below", counts.sub_domains),
        ("workers", "Workers of all servers below", counts.workers),
        ("hungry_workers", "Workers below with nothing to run", counts.hungry),
        ("surplus_closures", "Ready closures beyond what idle workers take", counts.surplus),
        ("jobs_waiting", "Jobs that nobody runs yet", counts.jobs_waiting),
        ("jobs_running", "Jobs that run", counts.jobs_running),
        ("jobs_ended", "Jobs that have ended and are remembered", counts.jobs_ended),
        ("connections", "Children and parent that are connected", counts.connections),
        ("closures_held", "Closures that are here or lent from here", counts.closures_held),
    ]
}

#[rustfmt::skip]
fn counters(stats: &Stats) -> [Metric; 15] {
    [
        ("steals_asked", "Steals asked of others", stats.steals_asked),
        ("steals_refused", "Steals that could not be satisfied", stats.steals_refused),
        ("closures_lent", "Closures lent", stats.closures_lent),
        ("closures_borrowed", "Closures borrowed", stats.closures_borrowed),
        ("closures_requeued", "Closures that came back undone", stats.closures_requeued),
        ("results_late", "Results for leases that were over, dropped", stats.results_late),
        ("results_stale", "Results from sessions that were over, dropped", stats.results_stale),
        ("packets_doubled", "Packets that had come before, dropped", stats.packets_doubled),
        ("rivals_begun", "Late closures that were lent a second time", stats.rivals_lent),
        ("rivals_won", "Those of which the second was first", stats.rivals_won),
        ("rivals_wasted", "Those of which the second was stopped or lost", stats.rivals_wasted),
        ("rivals_wasted_ms", "Worker's milliseconds that these took at most", stats.rivals_wasted_ms),
        ("results_recorded", "Results that were recorded, and states of long tasks", stats.results_recorded),
        ("results_restored", "Those that were found on this manager's disk", stats.results_restored),
        ("peers_lost", "Neighbours that fell silent", stats.peers_lost),
    ]
}

#[rustfmt::skip]
fn blobs(counts: &Counts) -> [Metric; 2] {
    [
        ("blobs_fetched", "Blobs fetched from others", counts.blobs_fetched),
        ("blob_bytes_fetched", "Bytes of their contents", counts.blob_bytes_fetched),
    ]
}

#[rustfmt::skip]
fn urls(counts: &Counts) -> [Metric; 5] {
    let urls = &counts.urls;
    [
        ("url_hits", "Reads of files by URL, for those below, that found all of it here", urls.hits),
        ("url_misses", "Those that had to wait for the origin, or for the parent", urls.misses),
        ("url_bytes_from_origin", "Bytes of files by URL that came from their origins", urls.origin_bytes),
        ("url_bytes_from_parent", "Those that came from the manager of the domain above", urls.above_bytes),
        ("url_bytes_from_store", "Those that were here before somebody below asked for them", urls.stored_bytes),
    ]
}

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Who scrapes is one, or a few.
const CONNECTIONS_MAX: usize = 16;
/// A manager that acts answers at once.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(2);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// When there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_written_is_no_good_health() {
        let trouble = Trouble {
            path: "/state/manager.redb".into(),
            cause: "No space left on device".into(),
        };
        let (status, text) = health(true, Some(&trouble), "acts in term 1\n");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        for part in [
            "/state/manager.redb",
            "No space left",
            "make room",
            "acts in term 1",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(health(true, None, ""), (StatusCode::OK, "ok\n".to_owned()));
        assert_eq!(health(false, None, "").0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
