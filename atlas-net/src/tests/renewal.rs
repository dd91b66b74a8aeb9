//! Certificates that are renewed in time, by themselves.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use tokio::task::JoinSet;

use super::*;
use crate::StreamKind;
use crate::enrol::{self, Lifetimes};
use crate::redial::{Backoff, BackoffLimits, Redialler};

/// Long enough for a slow machine to renew in the last third of it.
const SHORT: Duration = Duration::from_secs(9);

const LIFETIMES: Lifetimes = Lifetimes {
    node: SHORT,
    sub_domain: SHORT,
};

type Current = Arc<Mutex<Option<Connection>>>;

/// Takes whoever comes, and renews.
async fn serve(endpoint: Arc<Endpoint>, authority: Arc<RwLock<DomainAuthority>>) {
    let mut serving = JoinSet::new();
    while let Some(arrival) = endpoint.accept().await {
        let Ok(Arrival::Node(connection)) = arrival else {
            continue;
        };
        let authority = authority.clone();
        serving.spawn(async move {
            while let Ok((kind, stream)) = connection.accept_stream().await {
                assert_eq!(kind, StreamKind::Renew);
                let (authority, now) = (authority.read().unwrap().clone(), SystemTime::now());
                let _ =
                    enrol::answer_renewal(stream, &connection, &authority, &LIFETIMES, now).await;
            }
        });
    }
}

/// Keeps the current connection at hand.
async fn stay_connected(endpoint: Arc<Endpoint>, to: SocketAddr, domain: Domain, current: Current) {
    let limits = BackoffLimits {
        first: Duration::from_millis(5),
        max: Duration::from_millis(100),
        ..BackoffLimits::default()
    };
    let expected = Expected::manager_of(domain);
    let mut redialler = Redialler::new([to], expected, Backoff::new(limits, 1));
    loop {
        let connection = redialler.connect(&endpoint).await;
        *current.lock().unwrap() = Some(connection.clone());
        connection.closed().await;
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let mut looked = 0;
    while !is() {
        looked += 1;
        assert!(looked < 5000, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn current() -> (Current, impl FnMut() -> Option<Connection> + Send + 'static) {
    let current = Current::default();
    let at_hand = current.clone();
    (current, move || at_hand.lock().unwrap().clone())
}

/// Runs a test with a folder. What has been renewed may be saved there, by a thread that nobody waits for, until the test's runtime has
/// ended: so the folder is removed after that.
fn in_folder<T: Future<Output = ()>>(test: impl FnOnce(PathBuf) -> T) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(within(test(folder.path().to_owned())));
    drop(runtime);
    let path = folder.path().to_owned();
    folder.close().unwrap();
    assert!(!path.exists());
}

#[test]
fn certificates_are_renewed_by_themselves_and_connections_go_on() {
    in_folder(|folder| async move {
        let (at_server, at_manager) = (folder.join("server"), folder.join("manager"));
        let cs = Arc::new(RwLock::new(authority("cs.example.edu")));
        let bind_short = |role| {
            let identity = identity_for(&cs.read().unwrap(), role, SHORT);
            Arc::new(bind(identity, &EndpointOptions::manager()))
        };
        let (manager, server) = (bind_short(Role::Manager), bind_short(Role::Server));
        let ends = [manager.identity().ends_at(), server.identity().ends_at()];
        let mut tasks = JoinSet::new();
        let (current, at_hand) = current();
        tasks.spawn(serve(manager.clone(), cs.clone()));
        let to = address(&manager);
        let name = domain("cs.example.edu");
        tasks.spawn(stay_connected(server.clone(), to, name, current.clone()));
        let (endpoint, saved) = (server.clone(), at_server.clone());
        tasks.spawn(async move { enrol::keep_renewed(&endpoint, at_hand, &saved).await });
        let (endpoint, saved) = (manager.clone(), at_manager.clone());
        tasks.spawn(async move {
            enrol::keep_own_renewed(&endpoint, &cs, &LIFETIMES, &saved).await;
        });

        let past = ends.into_iter().max().unwrap() + Duration::from_secs(1);
        until("the first certificates end", || SystemTime::now() > past).await;
        for (endpoint, saved) in [(&server, &at_server), (&manager, &at_manager)] {
            let (identity, now) = (endpoint.identity(), SystemTime::now());
            assert!(identity.ends_at() > now, "{}", identity.peer());
            until("it is saved", || {
                let saved = Identity::load(saved, now);
                saved.is_ok_and(|saved| saved.ends_at() >= identity.ends_at())
            })
            .await;
        }
        // The connection was made anew, with the new certificates.
        until("there is a new connection", || {
            let current = current.lock().unwrap();
            current.as_ref().is_some_and(|up| up.ends_at() > past)
        })
        .await;
        let up = server.connect(to, &expected(&manager)).await.unwrap();
        assert!(up.ends_at() > past);
    });
}

#[test]
fn the_authority_of_a_sub_domain_is_renewed_by_itself() {
    in_folder(|folder| async move {
        let cs = authority("cs.example.edu");
        let (mut lab, now) = (authority("lab.cs.example.edu"), SystemTime::now());
        let request = lab.request().unwrap();
        let chain = cs.sign_sub_domain(&request, lab.domain(), now, SHORT);
        lab.adopt(chain.unwrap(), now).unwrap();
        let first = lab.renew_at().unwrap();
        let key = NodeKey::generate().unwrap();
        let identity = lab.issue_own(key, now, LEAF_LIFETIME).unwrap();
        // Nothing lasts longer than its authority.
        assert!(identity.ends_at() < now + SHORT * 2);
        let child = Arc::new(bind(identity, &EndpointOptions::manager()));
        let lab = Arc::new(RwLock::new(lab));
        let parent = Arc::new(manager(&cs));
        let mut tasks = JoinSet::new();
        let (current, at_hand) = current();
        let to = address(&parent);
        tasks.spawn(serve(parent, Arc::new(RwLock::new(cs))));
        let name = domain("cs.example.edu");
        tasks.spawn(stay_connected(child.clone(), to, name, current));
        let (authority, saved) = (lab.clone(), folder.clone());
        tasks.spawn(async move {
            enrol::keep_authority_renewed(at_hand, &authority, &saved).await;
        });
        let (endpoint, authority, saved) = (child.clone(), lab.clone(), folder.join("own"));
        tasks.spawn(async move {
            enrol::keep_own_renewed(&endpoint, &authority, &LIFETIMES, &saved).await;
        });
        until("it is renewed", || {
            lab.read().unwrap().renew_at() > Some(first)
        })
        .await;
        // It has what the first certificate could not have given it.
        until("its manager goes on", || {
            child.identity().ends_at() > now + SHORT + Duration::from_secs(2)
        })
        .await;
        until("it is saved", || {
            let saved = DomainAuthority::load(&folder);
            saved.is_ok_and(|saved| saved.renew_at() == lab.read().unwrap().renew_at())
        })
        .await;
    });
}

#[test]
fn a_renewal_that_fails_is_tried_again() {
    in_folder(|folder| async move {
        // What should be a folder is a file at first.
        let blocked = folder.join("state");
        std::fs::write(&blocked, "in the way").unwrap();
        let cs = Arc::new(RwLock::new(authority("cs.example.edu")));
        // Due since long ago, with some seconds left.
        let (key, now) = (NodeKey::generate().unwrap(), SystemTime::now());
        let (made, lifetime) = (now - Duration::from_secs(100), Duration::from_secs(107));
        let request = key.request().unwrap();
        let issued = cs
            .read()
            .unwrap()
            .issue(&request, Role::Server, made, lifetime);
        let due = Identity::new(key, issued.unwrap(), now).unwrap();
        let server = Arc::new(bind(due, &EndpointOptions::default()));
        let manager = Arc::new(manager(&cs.read().unwrap()));
        let to = address(&manager);
        let serving = tokio::spawn(serve(manager.clone(), cs));
        let up = server.connect(to, &expected(&manager)).await.unwrap();
        let first = server.identity().ends_at();
        // There is no connection at the first two attempts.
        let mut asked = 0;
        let at_hand = move || {
            asked += 1;
            (asked > 2).then(|| up.clone())
        };
        let (endpoint, saved) = (server.clone(), blocked.clone());
        let keeping =
            tokio::spawn(async move { enrol::keep_renewed(&endpoint, at_hand, &saved).await });
        until("it is in use", || server.identity().ends_at() > first).await;
        std::fs::remove_file(&blocked).unwrap();
        until("it is saved", || {
            Identity::load(&blocked, SystemTime::now()).is_ok()
        })
        .await;
        keeping.abort();
        serving.abort();
    });
}
