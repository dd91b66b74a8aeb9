//! `login`, `logout`, `completions`.

use std::io;

use anyhow::Context as _;
use atlas_net::identity::Peer;
use clap::Args;

use super::{CANNOT_PRINT, Context};
use crate::exit;
use crate::login;
use crate::print::{json, print, words};
use crate::state;

#[derive(Debug, Args)]
pub(super) struct Login {
    /// The line that the manager printed, made with the role client or admin; `-` reads it from standard input.
    token: String,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell.
    shell: clap_complete::Shell,
}

impl Login {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let token = match self.token.as_str() {
            "-" => io::read_to_string(io::stdin())
                .context("cannot read a token from standard input")?,
            _ => self.token,
        };
        let state = context.state()?;
        let state::Login {
            identity,
            addresses,
        } = login::log_in(state, &token).await?;
        let Peer { node, domain, role } = identity.peer();
        let node = words::node(*node);
        let sentence = format!("logged in to {domain} as {role} {node}");
        let object = json::Login {
            domain: domain.to_string(),
            node,
            role: role.to_string(),
            addresses,
        };
        context.answer(&sentence, &object)
    }
}

impl Completions {
    pub(super) fn run(&self, mut command: clap::Command) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "atlas-shell", &mut script);
        print(&String::from_utf8_lossy(&script)).context(CANNOT_PRINT)?;
        Ok(exit::DONE)
    }
}

pub(super) fn log_out(context: &Context) -> anyhow::Result<u8> {
    let state = context.state()?;
    let was_logged_in = state.clear()?;
    let sentence = if was_logged_in {
        "logged out"
    } else {
        "nobody was logged in"
    };
    context.answer(sentence, &json::Logout { was_logged_in })
}
