//! `servers`, `domains`, `token`.

use std::time::Duration;

use anyhow::Context as _;
use atlas_net::identity::Role;
use atlas_proto::control::TokenRequest;
use clap::Args;

use super::{CANNOT_PRINT, Context};
use crate::exit;
use crate::print::{json, table};

/// As `atlas-manager token create` has them.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// What the token lets in: server or client. Those of other roles are made on the manager's machine.
    #[arg(long, default_value_t = Role::Server)]
    role: Role,
    /// For how long, as 30min or 7days.
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// How many nodes it lets in.
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// Where the manager is reached, as `host:port`, if that differs from what was set when the domain began; may be repeated.
    #[arg(long = "address", value_name = "HOST:PORT")]
    addresses: Vec<String>,
}

impl Token {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let request = TokenRequest {
            role: self.role.to_string(),
            lifetime: self.ttl,
            uses: self.uses,
            addresses: self.addresses,
        };
        let token = client.create_token(request).await?;
        client.close().await;
        context.answer(&token, &json::Token { token: &token })
    }
}

pub(super) async fn servers(context: &Context) -> anyhow::Result<u8> {
    let client = context.client().await?;
    let servers = client.servers().await?;
    client.close().await;
    let printed = context.format.list(&servers, table::servers, |server| {
        json::Server::from(server)
    });
    printed.context(CANNOT_PRINT)?;
    Ok(exit::DONE)
}

pub(super) async fn domains(context: &Context) -> anyhow::Result<u8> {
    let client = context.client().await?;
    let domains = client.domains().await?;
    client.close().await;
    let printed = context.format.list(&domains, table::domains, |domain| {
        json::Domain::from(domain)
    });
    printed.context(CANNOT_PRINT)?;
    Ok(exit::DONE)
}
