//! [`Attendance`]: which clients are there that serve files of their own to the jobs that they have submitted. A part of the manager
//! where a job was submitted.
//!
//! ```text
//!                serves                 lost
//!   submitted ------------> here ----------------> away --- patience is over ---> gone
//!       |                    ^  \                   |                              |
//!       |                    |   \--- goodbye ------|----------------------------> |
//!       +-- as if lost ------|----------------------+                              |
//!                            +------------------ serves ---------------------------+
//! ```
//!
//! A client that is lost may come back: it is waited for, by all who ask, and once for each time that it is lost. One that has said goodbye is not
//! waited for. **Who does not prove that the files are its own serves none.**

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::{FilesName, JobId};
use crate::time::Time;

/// Which clients are there, by the jobs that live.
#[derive(Debug, Default)]
pub struct Attendance {
    jobs: BTreeMap<JobId, Files>,
}

#[derive(Debug)]
struct Files {
    name: FilesName,
    presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here(SessionId),
    Away { until: Time },
}

/// A client's connection, as the driver counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Who is to be asked for a file of a job's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attending {
    /// The client on this connection.
    Here(SessionId),
    /// Nobody yet: it may come by then.
    Until(Time),
    /// Nobody any more, as far as anybody knows.
    Gone,
    /// Nobody ever: the job has no such files, or has ended.
    Nobody,
}

/// Why a client serves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// There is no such job, or it has no such files.
    #[error("job {0} has ended, or was submitted without files of its client")]
    NoFiles(JobId),
    /// They are somebody else's to serve.
    #[error("the files of job {0} are another client's to serve")]
    NotYours(JobId),
}

impl Attendance {
    /// A job begins whose client is about to serve files of this name. After a manager's restart it begins again.
    pub fn handle_job(&mut self, now: Time, job: JobId, name: FilesName) {
        let until = now + PATIENCE;
        let presence = Presence::Away { until };
        self.jobs.insert(job, Files { name, presence });
    }

    /// Forgets the jobs that have ended.
    pub fn retain(&mut self, lives: impl Fn(JobId) -> bool) {
        self.jobs.retain(|&job, _| lives(job));
    }

    /// A client serves the files of a job, and has proved that they have this name. An earlier connection is not asked any more.
    ///
    /// # Errors
    ///
    /// They are not its own, or nobody's any more.
    pub fn handle_serve(
        &mut self,
        job: JobId,
        proved: FilesName,
        session: SessionId,
    ) -> Result<(), ServeError> {
        let files = self.jobs.get_mut(&job).ok_or(ServeError::NoFiles(job))?;
        if files.name != proved {
            return Err(ServeError::NotYours(job));
        }
        files.presence = Presence::Here(session);
        Ok(())
    }

    /// A client's connection is over. With `goodbye` it has said that it does not come back.
    pub fn handle_over(&mut self, now: Time, session: SessionId, goodbye: bool) {
        let until = if goodbye { now } else { now + PATIENCE };
        for files in self.jobs.values_mut() {
            if files.presence == Presence::Here(session) {
                files.presence = Presence::Away { until };
            }
        }
    }

    /// Who is to be asked now for files of this job that are called so.
    #[must_use]
    pub fn attending(&self, now: Time, job: JobId, name: FilesName) -> Attending {
        match self.jobs.get(&job) {
            Some(files) if files.name == name => match files.presence {
                Presence::Here(session) => Attending::Here(session),
                Presence::Away { until } if until > now => Attending::Until(until),
                Presence::Away { .. } => Attending::Gone,
            },
            Some(_) | None => Attending::Nobody,
        }
    }

    /// Whether this connection serves anything still.
    #[must_use]
    pub fn is_serving(&self, session: SessionId) -> bool {
        let mut all = self.jobs.values();
        all.any(|files| files.presence == Presence::Here(session))
    }
}

/// For so long a client that was lost is waited for: longer than it takes to find another network, or a manager that was started anew; short enough
/// that a task is told within a minute, with the fifteen seconds until a connection is given up.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(1);
    const NAME: FilesName = FilesName([1; 16]);
    const OTHER: FilesName = FilesName([2; 16]);

    fn s(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn submitted() -> Attendance {
        let mut attendance = Attendance::default();
        attendance.handle_job(s(100), JOB, NAME);
        attendance
    }

    #[test]
    fn a_client_is_waited_for_once_for_each_time_that_it_is_lost() {
        let mut clients = submitted();
        let at = |clients: &Attendance, now| clients.attending(s(now), JOB, NAME);
        assert_eq!(at(&clients, 100), Attending::Until(s(120)));
        assert_eq!(at(&clients, 120), Attending::Gone);
        // It comes all the same.
        clients.handle_serve(JOB, NAME, SessionId(1)).unwrap();
        assert_eq!(at(&clients, 130), Attending::Here(SessionId(1)));
        clients.handle_over(s(130), SessionId(1), false);
        assert_eq!(at(&clients, 149), Attending::Until(s(150)));
        assert_eq!(at(&clients, 150), Attending::Gone);
        clients.handle_serve(JOB, NAME, SessionId(2)).unwrap();
        assert_eq!(at(&clients, 160), Attending::Here(SessionId(2)));
    }

    #[test]
    fn one_that_says_goodbye_is_not_waited_for() {
        let mut clients = submitted();
        clients.handle_serve(JOB, NAME, SessionId(1)).unwrap();
        clients.handle_over(s(101), SessionId(1), true);
        assert_eq!(clients.attending(s(101), JOB, NAME), Attending::Gone);
    }

    #[test]
    fn the_last_connection_counts_and_the_end_of_an_earlier_one_does_not() {
        let mut clients = submitted();
        clients.handle_serve(JOB, NAME, SessionId(1)).unwrap();
        clients.handle_serve(JOB, NAME, SessionId(2)).unwrap();
        assert!(!clients.is_serving(SessionId(1)));
        clients.handle_over(s(101), SessionId(1), true);
        let here = Attending::Here(SessionId(2));
        assert_eq!(clients.attending(s(101), JOB, NAME), here);
        assert!(clients.is_serving(SessionId(2)));
    }

    #[test]
    fn nobody_serves_or_reads_the_files_of_another_job() {
        let mut clients = submitted();
        clients.handle_job(s(100), JobId(2), OTHER);
        let refused = clients.handle_serve(JOB, OTHER, SessionId(1));
        assert_eq!(refused, Err(ServeError::NotYours(JOB)));
        let refused = clients.handle_serve(JobId(3), NAME, SessionId(1));
        assert_eq!(refused, Err(ServeError::NoFiles(JobId(3))));
        clients.handle_serve(JOB, NAME, SessionId(1)).unwrap();
        // A job that names another's files is told that it has none.
        let asked = clients.attending(s(101), JobId(2), NAME);
        assert_eq!(asked, Attending::Nobody);
        let asked = clients.attending(s(101), JobId(2), OTHER);
        assert_eq!(asked, Attending::Until(s(120)));
    }

    #[test]
    fn a_job_that_has_ended_has_no_files() {
        let mut clients = submitted();
        clients.handle_serve(JOB, NAME, SessionId(1)).unwrap();
        clients.retain(|_| false);
        assert_eq!(clients.attending(s(101), JOB, NAME), Attending::Nobody);
        assert!(!clients.is_serving(SessionId(1)));
        let refused = clients.handle_serve(JOB, NAME, SessionId(1));
        assert_eq!(refused, Err(ServeError::NoFiles(JOB)));
    }
}
