//! What the shell ends with. `docs/shell.md` lists these codes; scripts depend on them.
//!
//! A job's own exit code is passed on as it is, so that a code of the shell's may also be one of a job's: what must not be
//! mistaken is in the output of `--json`.

use std::fmt;
use std::process::ExitCode;

use atlas_net::enrol::EnrolError;
use atlas_proto::control::{JobState, JobStatus};

use crate::client::ClientError;
use crate::state::StateError;

/// All went as it was asked.
pub const DONE: u8 = 0;
/// Something on this machine went wrong: a file, a build.
pub const LOCAL: u8 = 1;
/// The command line is none; clap ends with it, too.
pub const USAGE: u8 = 2;
/// The manager cannot be reached, or the connection to it broke (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// The job ended without an exit code (`EX_SOFTWARE`).
pub const FAILED: u8 = 70;
/// The manager refuses, or nobody is logged in (`EX_NOPERM`).
pub const REFUSED: u8 = 77;
/// The shell left the job to itself, since Ctrl-C was pressed or nobody reads its output (128 + `SIGINT`).
pub const DETACHED: u8 = 130;
/// The job was killed (128 + `SIGKILL`).
pub const KILLED: u8 = 137;

/// An error of the shell's own with the code that it ends with.
#[derive(Debug)]
pub struct Exit {
    /// The code.
    pub code: u8,
    /// What is said on standard error.
    pub message: String,
}

impl Exit {
    /// An error that ends the shell with this code.
    pub fn error(code: u8, message: impl fmt::Display) -> anyhow::Error {
        let message = message.to_string();
        Self { code, message }.into()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// The code that a job's state is told with; none while it has not ended.
#[must_use]
pub fn of_job(state: &JobState) -> Option<u8> {
    match state {
        JobState::Waiting | JobState::Running => None,
        JobState::Exited { code } => Some(*code),
        JobState::Failed { .. } => Some(FAILED),
        JobState::Killed => Some(KILLED),
    }
}

/// The code for several jobs: that of the first, in the order asked for, that is not zero.
#[must_use]
pub fn of_jobs<'a>(jobs: impl IntoIterator<Item = &'a JobStatus>) -> u8 {
    let codes = jobs.into_iter().filter_map(|job| of_job(&job.state));
    codes.into_iter().find(|&code| code != DONE).unwrap_or(DONE)
}

/// The code for an error, wherever in its chain of causes the telling one is.
#[must_use]
pub fn of_error(error: &anyhow::Error) -> u8 {
    let told = error.chain().find_map(|cause| {
        if let Some(exit) = cause.downcast_ref::<Exit>() {
            Some(exit.code)
        } else if let Some(client) = cause.downcast_ref::<ClientError>() {
            Some(of_client(client))
        } else if let Some(state) = cause.downcast_ref::<StateError>() {
            Some(of_state(state))
        } else {
            cause.downcast_ref::<EnrolError>().map(of_enrolment)
        }
    });
    told.unwrap_or(LOCAL)
}

/// Says what went wrong, and ends with its code.
pub fn report(ended: anyhow::Result<u8>) -> ExitCode {
    let code = ended.unwrap_or_else(|error| {
        eprintln!("atlas-shell: {error:#}");
        of_error(&error)
    });
    ExitCode::from(code)
}

fn of_client(error: &ClientError) -> u8 {
    match error {
        ClientError::Refused(_) => REFUSED,
        ClientError::Renewal { source } => of_enrolment(source),
        ClientError::Bind(_) | ClientError::Unsent(_) => LOCAL,
        ClientError::Unreachable { .. }
        | ClientError::StandsBy { .. }
        | ClientError::Address { .. }
        | ClientError::Lost(_)
        | ClientError::Unexpected
        | ClientError::NoBlob { .. } => UNAVAILABLE,
    }
}

fn of_state(error: &StateError) -> u8 {
    match error {
        StateError::LoggedOut { .. } | StateError::Ended { .. } => REFUSED,
        StateError::NoFolder | StateError::File { .. } | StateError::Damaged { .. } => LOCAL,
        StateError::Identity(_) => LOCAL,
    }
}

fn of_enrolment(error: &EnrolError) -> u8 {
    if matches!(error, EnrolError::Refused(_)) {
        REFUSED
    } else {
        UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use atlas_proto::control::Refusal;

    #[test]
    fn a_jobs_code_is_passed_on_and_other_ends_have_codes_of_their_own() {
        assert_eq!(of_job(&JobState::Running), None);
        assert_eq!(of_job(&JobState::Exited { code: 3 }), Some(3));
        let message = String::new();
        assert_eq!(of_job(&JobState::Failed { message }), Some(70));
        assert_eq!(of_job(&JobState::Killed), Some(137));
    }

    #[test]
    fn of_several_jobs_the_first_that_failed_counts() {
        let job = |state| JobStatus {
            state,
            ..crate::print::example()
        };
        let jobs = [0, 4, 5].map(|code| job(JobState::Exited { code }));
        assert_eq!(of_jobs(&jobs), 4);
        assert_eq!(of_jobs(&jobs[..1]), 0);
        assert_eq!(of_jobs(&[job(JobState::Killed)]), KILLED);
    }

    #[test]
    fn an_errors_code_is_that_of_its_cause() {
        let refused: Result<(), _> = Err(ClientError::Refused(Refusal::new("no")));
        let error = refused.context("cannot submit").unwrap_err();
        assert_eq!(of_error(&error), REFUSED);
        assert_eq!(
            format!("{error:#}"),
            "cannot submit: the manager refuses: no"
        );
        let logged_out = StateError::LoggedOut {
            folder: "/state".into(),
        };
        assert_eq!(of_error(&logged_out.into()), REFUSED);
        assert_eq!(of_error(&ClientError::Unexpected.into()), UNAVAILABLE);
        assert_eq!(of_error(&Exit::error(DETACHED, "gone")), DETACHED);
        assert_eq!(of_error(&anyhow::anyhow!("a file")), LOCAL);
    }
}
