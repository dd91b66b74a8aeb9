//! Logging in with a token, coming back with what that left, and keeping it.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use atlas_net::identity::{Identity, NodeKey, Role, Token};
use atlas_net::redial::{Backoff, BackoffLimits};
use atlas_net::{enrol, wait_until};
use tokio::time::sleep;

use crate::client::Client;
use crate::print::words;
use crate::state::{Login, StateFolder};

/// Enrols this user as a client or an administrator of the token's domain and keeps that in the state folder, in place of an earlier login.
///
/// # Errors
///
/// It is a token for another role, the manager refuses it or does not answer, or the folder cannot be written.
pub async fn log_in(state: &StateFolder, token: &str) -> anyhow::Result<Login> {
    let token: Token = token.parse()?;
    match token.role {
        Role::Client | Role::Admin => {}
        role @ (Role::Server | Role::Manager | Role::Standby) => bail!(
            "this token lets in a {role}: ask for one that was made with the role client, or admin for who is to let others in"
        ),
    }
    // What is refused here uses up no token.
    state.check_writable()?;
    let key =
        NodeKey::generate().context("cannot make a key: the system gives no random numbers")?;
    let joined = enrol::join(&token, key).await;
    let identity = joined.with_context(|| format!("cannot log in to {}", token.domain))?;
    let login = Login {
        identity,
        addresses: token.addresses,
    };
    state.save(&login)?;
    Ok(login)
}

/// Connects with the login in the state folder, and renews its certificate when it is time.
///
/// # Errors
///
/// Nobody is logged in, or no longer, or the manager cannot be reached.
pub async fn connect(state: &StateFolder) -> anyhow::Result<Client> {
    let now = SystemTime::now();
    let login = state.load(now)?;
    let client = Client::connect(&login).await?;
    // A second manager is known to whoever needs it, before it is needed.
    if client
        .managers()
        .iter()
        .any(|told| !login.addresses.contains(told))
        && client.managers().len() > 1
        && let Err(error) = state.save_addresses(client.managers())
    {
        eprintln!("atlas-shell: {error:#}");
    }
    if now < login.identity.renew_at() {
        return Ok(client);
    }
    let identity = match renew(state, &client, &login).await {
        Ok(identity) => identity,
        Err(error) => {
            // What is asked for can be done with the old one; the next command tries again.
            eprintln!("atlas-shell: {}", not_renewed(&error, &login));
            return Ok(client);
        }
    };
    // The connection ends with the certificate that it was made with, and that one may end any moment.
    let addresses = login.addresses;
    match Client::connect(&Login {
        identity,
        addresses,
    })
    .await
    {
        Ok(renewed) => {
            client.close().await;
            Ok(renewed)
        }
        Err(_) => Ok(client),
    }
}

/// Renews the login in the state folder whenever it is time, over what `client` gives as the current connection to the manager. Does
/// not return. Connections end with the certificates that they were made with; [`connect`] then makes one with the next.
pub async fn keep_renewed(
    state: &StateFolder,
    client: impl Fn() -> Rc<Client>,
    say: impl Fn(&str),
) -> Infallible {
    let mut backoff = Backoff::new(RETRIES, client().user().node.0);
    let mut is_told = false;
    loop {
        let login = match state.load(SystemTime::now()) {
            // Other commands of this user do the same.
            Ok(login) if SystemTime::now() < login.identity.renew_at() => {
                is_told = false;
                wait_until(login.identity.renew_at()).await;
                continue;
            }
            Ok(login) if *login.identity.peer() == client().user() => login,
            // Somebody else has logged in, or nobody is any more.
            Ok(_) | Err(_) => {
                sleep(RETRIES.max).await;
                continue;
            }
        };
        let wait = match renew(state, &client(), &login).await {
            Ok(renewed) => {
                backoff.handle_connected(Instant::now());
                // Where this machine's clock is ahead, what is new is due already.
                let is_due = renewed.renew_at() <= SystemTime::now();
                if is_due { RETRIES.max } else { RENEWALS_APART }
            }
            Err(error) => {
                if !is_told {
                    say(&not_renewed(&error, &login));
                    is_told = true;
                }
                backoff.handle_failure(Instant::now())
            }
        };
        sleep(wait).await;
    }
}

async fn renew(state: &StateFolder, client: &Client, login: &Login) -> anyhow::Result<Identity> {
    let renewed = client.renew(&login.identity).await?;
    // Who has logged in meanwhile is not to lose that.
    if state.load(SystemTime::now())?.identity.peer() == renewed.peer() {
        state.save_identity(&renewed)?;
    }
    Ok(renewed)
}

fn not_renewed(error: &anyhow::Error, login: &Login) -> String {
    let left = login.identity.ends_at().duration_since(SystemTime::now());
    let left = words::duration(left.unwrap_or_default());
    format!("{error:#}; it ends in {left}")
}

/// A third of a certificate's life is left for them.
const RETRIES: BackoffLimits = BackoffLimits {
    first: Duration::from_millis(500),
    max: Duration::from_secs(60),
    stable: Duration::ZERO,
};
/// Where an authority is about to end, what it issues lasts shorter each time.
const RENEWALS_APART: Duration = Duration::from_secs(1);
