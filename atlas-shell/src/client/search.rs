//! Looking for the manager that acts: at all known addresses, since one that is dead does not say so.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use atlas_net::identity::{Expected, Identity};
use atlas_net::{Endpoint, EndpointOptions};
use atlas_proto::domain::Domain;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Client, ClientError};
use crate::state::Login;

/// The manager that acts, or why there is none.
pub(super) async fn acting(login: &Login) -> Result<Client, ClientError> {
    let mut search = Search {
        identity: login.identity.clone(),
        // Who knows of another manager does not wait long for this one.
        patience: (login.addresses.len() > 1).then_some(PATIENCE),
        tried: BTreeSet::new(),
        attempts: JoinSet::new(),
    };
    search.try_all(&login.addresses);
    let mut failed = None;
    while let Some(done) = search.attempts.join_next().await {
        let (address, client) = match done {
            Ok((address, Ok(client))) => (address, client),
            // What is wrong on this machine is wrong with all.
            Ok((_, Err(error @ ClientError::Bind(_)))) => return Err(error),
            Ok((_, Err(error))) => {
                failed = Some(error);
                continue;
            }
            Err(_) => continue,
        };
        let managers = match client.ask_managers().await {
            Ok(managers) => managers,
            Err(error) => {
                failed = Some(error);
                continue;
            }
        };
        if managers.acts {
            let managers = managers.addresses;
            return Ok(Client { managers, ..client });
        }
        let domain = login.identity.peer().domain.clone();
        failed.get_or_insert(ClientError::StandsBy { domain });
        search.try_all(&managers.addresses);
        if !search.attempts.is_empty() {
            // It may act before the others have been given up.
            search.begin(address, AGAIN);
        }
    }
    Err(failed.unwrap_or_else(|| ClientError::Address {
        domain: login.identity.peer().domain.clone(),
        address: String::new(),
    }))
}

struct Search {
    identity: Identity,
    patience: Option<Duration>,
    tried: BTreeSet<String>,
    attempts: JoinSet<(String, Result<Client, ClientError>)>,
}

impl Search {
    /// One after the other, but without waiting for those that do not answer.
    fn try_all(&mut self, addresses: &[String]) {
        let mut wait = Duration::ZERO;
        for address in addresses {
            if self.tried.insert(address.clone()) {
                self.begin(address.clone(), wait);
                wait += STAGGER;
            }
        }
    }

    fn begin(&mut self, address: String, wait: Duration) {
        let (identity, patience) = (self.identity.clone(), self.patience);
        self.attempts.spawn(async move {
            sleep(wait).await;
            let client = at_name(&address, &identity, patience).await;
            (address, client)
        });
    }
}

async fn at_name(
    name: &str,
    identity: &Identity,
    patience: Option<Duration>,
) -> Result<Client, ClientError> {
    let domain = identity.peer().domain.clone();
    let resolved = tokio::net::lookup_host(name).await;
    let mut failed = ClientError::Address {
        domain: domain.clone(),
        address: name.to_owned(),
    };
    for address in resolved.into_iter().flatten() {
        match connect_at(address, identity, &domain, patience).await {
            Err(error @ ClientError::Unreachable { .. }) => failed = error,
            done => return done,
        }
    }
    Err(failed)
}

async fn connect_at(
    address: SocketAddr,
    identity: &Identity,
    domain: &Domain,
    patience: Option<Duration>,
) -> Result<Client, ClientError> {
    let any: SocketAddr = if address.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let mut options = EndpointOptions::default();
    options.patience = patience.unwrap_or(options.patience);
    let endpoint = Endpoint::bind(any, identity.clone(), &options)?;
    let expected = Expected::manager_of(domain.clone());
    let connected = endpoint.connect(address, &expected).await;
    let connection = connected.map_err(|source| ClientError::Unreachable {
        domain: domain.clone(),
        source: source.into(),
    })?;
    Ok(Client {
        connection,
        managers: Vec::new(),
        endpoint,
    })
}

/// A manager that is there answers in less, mostly.
const STAGGER: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_millis(500);
/// Silence that a busy manager does not keep.
const PATIENCE: Duration = Duration::from_secs(4);
