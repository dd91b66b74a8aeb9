//! Logging in with a token, and coming back with what that left.

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use atlas_net::enrol;
use atlas_net::identity::{NodeKey, Role, Token};

use crate::client::Client;
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
    if now >= login.identity.renew_at()
        && let Err(error) = renew(state, &client, &login).await
    {
        // What is asked for can be done with the old one; the next command tries again.
        let left = login.identity.ends_at().duration_since(now);
        let left = crate::print::words::duration(left.unwrap_or_default());
        eprintln!("atlas-shell: {error:#}; it ends in {left}");
    }
    Ok(client)
}

async fn renew(state: &StateFolder, client: &Client, login: &Login) -> anyhow::Result<()> {
    let renewed = client.renew(&login.identity).await?;
    Ok(state.save_identity(&renewed)?)
}
