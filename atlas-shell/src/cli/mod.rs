//! The command line: what can be asked for, and who answers it. Each command has the state folder and the format at hand,
//! prints its answer, and gives the code to end with.

mod account;
mod cache;
mod domain;
mod jobs;
mod mount;
mod output;
mod submit;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::client::Client;
use crate::exit;
use crate::login;
use crate::print::{Format, print};
use crate::session::Session;
use crate::state::{StateError, StateFolder};

/// Submits jobs to the manager of an Atlas domain, and tells how they go on.
#[derive(Debug, Parser)]
#[command(name = "atlas-shell", version, max_term_width = 100)]
pub struct Options {
    /// Print JSON, one object per line, in place of tables and sentences.
    #[arg(long, global = true)]
    json: bool,
    /// The folder that keeps the login, in place of the usual one.
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program as a job, and follow it.
    Submit(submit::Submit),
    /// List jobs that have not ended.
    Ps(jobs::Ps),
    /// Print what a job has printed.
    Output(output::Output),
    /// Wait until jobs have ended; exit as the first of them that failed.
    Wait(jobs::Wait),
    /// End jobs.
    Kill(jobs::Kill),
    /// List the servers of the domain.
    Servers,
    /// List the domain and those directly below it.
    Domains,
    /// Make a join token for a server or client, as an administrator: who has logged in with a token that `atlas-manager token create
    /// --role admin` has made.
    Token(domain::Token),
    /// Log in to a domain with a join token.
    Login(account::Login),
    /// Forget the login.
    Logout,
    /// Mount files by URL as a folder: DIR/https/example.org/data/x is https://example.org/data/x.
    Mount(mount::Mount),
    /// Look after the files by URL that are kept on this machine.
    Cache(cache::Cache),
    /// Print the completions of a shell.
    Completions(account::Completions),
}

/// Of commands that take as long as a job does.
#[derive(Clone, Copy, Debug, Args)]
struct Reconnect {
    /// For how long to try to come back to a manager that was lost, as in `10s`.
    #[arg(long, value_name = "TIME", default_value = "1min", value_parser = humantime::parse_duration)]
    reconnect: Duration,
}

/// What every command has at hand.
#[derive(Debug)]
struct Context {
    state: Result<StateFolder, StateError>,
    format: Format,
}

/// Does what was asked for, and says with which code the process is to end.
///
/// # Errors
///
/// It could not be done.
pub fn run(options: Options) -> anyhow::Result<u8> {
    let context = Context {
        state: StateFolder::find(options.state, |name| std::env::var_os(name)),
        format: if options.json {
            Format::Json
        } else {
            Format::Text
        },
    };
    match options.command {
        Command::Submit(submit) => submit.run(&context),
        Command::Ps(ps) => wait_for(ps.run(&context)),
        Command::Output(output) => wait_for(output.run(&context)),
        Command::Wait(wait) => wait_for(wait.run(&context)),
        Command::Kill(kill) => wait_for(kill.run(&context)),
        Command::Servers => wait_for(domain::servers(&context)),
        Command::Domains => wait_for(domain::domains(&context)),
        Command::Token(token) => wait_for(token.run(&context)),
        Command::Login(login) => wait_for(login.run(&context)),
        Command::Logout => account::log_out(&context),
        Command::Mount(mount) => mount.run(&context),
        Command::Cache(cache) => cache.run(&context),
        Command::Completions(completions) => completions.run(Options::command()),
    }
}

impl Context {
    fn state(&self) -> anyhow::Result<&StateFolder> {
        self.state
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// To the manager where this user is logged in.
    async fn client(&self) -> anyhow::Result<Client> {
        login::connect(self.state()?).await
    }

    /// As [`Context::client`], also after the connection was lost.
    async fn session(&self, Reconnect { reconnect }: Reconnect) -> anyhow::Result<Session> {
        let client = self.client().await?;
        Ok(Session::lasting(client, self.state()?.clone(), reconnect))
    }

    /// Prints a sentence, or an object.
    fn answer(&self, sentence: &str, object: &impl serde::Serialize) -> anyhow::Result<u8> {
        let text = match self.format {
            Format::Text => format!("{sentence}\n"),
            Format::Json => crate::print::json::line(object),
        };
        print(&text).context(CANNOT_PRINT)?;
        Ok(exit::DONE)
    }
}

/// Runs on this thread. What is still being written or read then is left to the system.
fn wait_for(work: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("the system gives no sockets or timers: see its limits")?;
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

const CANNOT_PRINT: &str = "cannot write to standard output";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn arguments_of_the_job_are_the_jobs() {
        let line = [
            "atlas-shell",
            "submit",
            "--input",
            "a",
            "--input",
            "b",
            "fib",
            "--",
            "--json",
            "24",
        ];
        let options = Options::try_parse_from(line).unwrap();
        assert!(!options.json);
        let Command::Submit(submit) = options.command else {
            panic!("submit was given");
        };
        assert_eq!(submit.args(), ["--json", "24"]);
        let ps = Options::try_parse_from(["atlas-shell", "ps", "--all", "--json"]).unwrap();
        assert!(ps.json);
        assert!(Options::try_parse_from(["atlas-shell", "kill"]).is_err());
        assert!(Options::try_parse_from(["atlas-shell", "wait", "x"]).is_err());
    }
}
