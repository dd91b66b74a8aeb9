//! Connections that are there in all phases: children, and the domain's other managers, each of whom is dialled, too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use atlas_net::identity::Expected;
use atlas_net::redial::{Backoff, BackoffLimits, Redialler};
use atlas_net::{Connection, Endpoint, StreamKind, enrol};
use atlas_proto::control::STANDBY_TOPIC;
use atlas_proto::standby::Link;
use tokio::task::JoinSet;

use crate::core::Core;
use crate::nodes::{self, is_other_manager};
use crate::state::StateFolder;

/// Serves a node that has come, until it goes.
pub(crate) async fn serve(connection: Connection, core: Arc<Core>) {
    if is_other_manager(&connection) {
        return serve_manager(connection, core).await;
    }
    let id = core.child_comes(&connection);
    if let Some(shared) = core.shared() {
        shared.asker.tell_child(connection.clone()).await;
    }
    nodes::serve(connection, core.clone()).await;
    core.child_goes(id);
}

/// Keeps up connections to wherever another manager of the domain may be. Does not return.
pub(crate) async fn keep(core: Arc<Core>, endpoint: Arc<Endpoint>) {
    let mut state = core.standing.state();
    let mut dialled = BTreeSet::new();
    let mut tasks = JoinSet::new();
    loop {
        let others: Vec<String> = state.borrow_and_update().others.clone();
        for address in others {
            if dialled.insert(address.clone()) {
                tasks.spawn(keep_one(address, core.clone(), endpoint.clone()));
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

async fn keep_one(address: String, core: Arc<Core>, endpoint: Arc<Endpoint>) {
    let expected = Expected::manager_of(core.domain.clone());
    let seed = endpoint.identity().peer().node.0;
    let mut redialler = Redialler::new([address], expected, Backoff::new(LIMITS, seed));
    loop {
        let connection = redialler.connect(&endpoint).await;
        let talk = async {
            let kind = StreamKind::Request {
                topic: STANDBY_TOPIC,
            };
            if let Ok(stream) = connection.open_stream(kind).await {
                core.standing.talk(&connection, Link::Manager, stream).await;
            }
        };
        // When either ends there is nothing left to say.
        tokio::select! {
            () = talk => {}
            () = serve_manager(connection.clone(), core.clone()) => {}
        }
        core.manager_goes(&connection);
        let reason = "the managers have nothing to say to each other";
        connection.close(atlas_net::CloseCode::Done, reason);
    }
}

async fn serve_manager(connection: Connection, core: Arc<Core>) {
    core.manager_comes(&connection);
    nodes::serve(connection.clone(), core.clone()).await;
    core.manager_goes(&connection);
}

/// A manager that stands by has its certificate renewed by the one that acts; one that acts does that itself. Does not return.
pub(crate) async fn keep_renewed(core: Arc<Core>, endpoint: Arc<Endpoint>, state: StateFolder) {
    let mut standing = core.standing.state();
    loop {
        let follows = standing.wait_for(|standing| standing.acts.is_none());
        if follows.await.is_err() {
            return;
        }
        let manager = || {
            let manager = core.standing.state().borrow().manager;
            manager.and_then(|(node, _)| core.manager(node))
        };
        let folder = state.identity_folder();
        tokio::select! {
            () = enrol::keep_renewed(&endpoint, manager, &folder) => {}
            _ = standing.wait_for(|standing| standing.acts.is_some()) => {}
        }
    }
}

/// The two are to hear of each other as soon as they are there.
const LIMITS: BackoffLimits = BackoffLimits {
    first: Duration::from_millis(250),
    max: Duration::from_secs(4),
    stable: Duration::from_secs(1),
};
