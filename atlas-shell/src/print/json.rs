//! JSON for programs. Names and meanings of fields are a promise to scripts: add, but never rename.

use std::time::Duration;

use atlas_proto::control::{
    Accepted, DomainStatus, JobState, JobStatus, OutputFrame, OutputStream, ServerStatus,
};
use atlas_proto::message::Load;
use serde::Serialize;

use super::words;

/// A job: `ps`, `wait`, `kill`, and the last line of `submit`.
#[derive(Debug, Serialize)]
pub struct Job {
    job: u64,
    name: String,
    args: Vec<String>,
    state: &'static str,
    exit_code: Option<u8>,
    message: Option<String>,
    submitted_ms: u64,
    elapsed_ms: u64,
    work_ms: u64,
    speedup: Option<f64>,
    closures: u64,
    servers: u32,
    workers: u32,
    stdout_bytes: u64,
    stderr_bytes: u64,
    files: Option<Files>,
}

#[derive(Debug, Serialize)]
struct Files {
    count: u64,
    bytes: u64,
    tree: String,
}

/// A server.
#[derive(Debug, Serialize)]
pub struct Server {
    server: String,
    domain: Option<String>,
    address: Option<String>,
    connected: bool,
    #[serde(flatten)]
    load: Loads,
}

/// A domain.
#[derive(Debug, Serialize)]
pub struct Domain {
    domain: String,
    children: Option<u32>,
    connected: bool,
    #[serde(flatten)]
    load: Loads,
}

#[derive(Debug, Serialize)]
struct Loads {
    workers: u32,
    hungry: u32,
    surplus: u32,
    surplus_work_ms: u64,
}

/// What happens to a job while it is followed.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The manager has taken it in.
    Accepted {
        /// Its number.
        job: u64,
        /// How many workers the domain has now.
        workers: u32,
    },
    /// It has printed something.
    Output {
        /// `stdout` or `stderr`.
        stream: &'static str,
        /// How many bytes of this stream came before.
        offset: u64,
        /// The bytes, if they are text.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
        /// The bytes, if they are not.
        #[serde(skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// A file that it has left was put here.
    File {
        /// Where.
        path: &'a str,
    },
    /// It is left to itself.
    Detached {
        /// Its number.
        job: u64,
    },
    /// It has ended.
    Ended(Box<Job>),
}

/// A join token.
#[derive(Debug, Serialize)]
pub struct Token<'a> {
    /// As it is handed to the new node.
    pub token: &'a str,
}

/// The login was forgotten.
#[derive(Debug, Serialize)]
pub struct Logout {
    /// There was one.
    pub was_logged_in: bool,
}

/// Who is logged in where.
#[derive(Debug, Serialize)]
pub struct Login {
    /// To which domain.
    pub domain: String,
    /// As which node.
    pub node: String,
    /// `client`, or `admin` who may make tokens.
    pub role: String,
    /// Where the manager is reached.
    pub addresses: Vec<String>,
}

impl From<&JobStatus> for Job {
    fn from(job: &JobStatus) -> Self {
        let (state, exit_code, message) = match &job.state {
            JobState::Waiting => ("waiting", None, None),
            JobState::Running => ("running", None, None),
            JobState::Exited { code } => ("exited", Some(*code), None),
            JobState::Failed { message } => ("failed", None, Some(message.clone())),
            JobState::Killed => ("killed", None, None),
        };
        let [stdout_bytes, stderr_bytes] = job.output_bytes;
        Self {
            job: job.id.0,
            name: job.name.clone(),
            args: job.args.clone(),
            state,
            exit_code,
            message,
            submitted_ms: job.submitted_ms,
            elapsed_ms: millis(job.elapsed),
            work_ms: millis(job.work),
            speedup: words::speedup(job),
            closures: job.closures,
            servers: job.servers,
            workers: job.workers,
            stdout_bytes,
            stderr_bytes,
            files: job.files.map(|files| Files {
                count: files.files,
                bytes: files.bytes,
                tree: data_encoding::HEXLOWER.encode(&files.tree),
            }),
        }
    }
}

impl From<&ServerStatus> for Server {
    fn from(server: &ServerStatus) -> Self {
        Self {
            server: words::node(server.node),
            domain: server.domain.as_ref().map(ToString::to_string),
            address: server.address.map(|address| address.to_string()),
            connected: server.address.is_some(),
            load: (&server.load).into(),
        }
    }
}

impl From<&DomainStatus> for Domain {
    fn from(domain: &DomainStatus) -> Self {
        Self {
            domain: domain.domain.to_string(),
            children: domain.children,
            connected: domain.connected,
            load: (&domain.load).into(),
        }
    }
}

impl From<&Load> for Loads {
    fn from(load: &Load) -> Self {
        Self {
            workers: load.workers,
            hungry: load.hungry,
            surplus: load.surplus,
            surplus_work_ms: millis(load.surplus_work),
        }
    }
}

impl From<Accepted> for Event<'_> {
    fn from(Accepted { job, workers }: Accepted) -> Self {
        Self::Accepted {
            job: job.0,
            workers,
        }
    }
}

impl<'a> From<&'a OutputFrame> for Event<'a> {
    fn from(frame: &'a OutputFrame) -> Self {
        let text = std::str::from_utf8(&frame.bytes).ok();
        let base64 = text
            .is_none()
            .then(|| data_encoding::BASE64.encode(&frame.bytes));
        let stream = match frame.stream {
            OutputStream::Out => "stdout",
            OutputStream::Err => "stderr",
        };
        Self::Output {
            stream,
            offset: frame.offset,
            text,
            base64,
        }
    }
}

/// One object, with the end of its line.
#[must_use]
pub fn line(object: &impl Serialize) -> String {
    let text = serde_json::to_string(object);
    text.expect("these objects have texts as keys, and serialising them cannot fail") + "\n"
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::example;

    #[test]
    fn a_job_is_one_line_with_the_promised_fields() {
        assert_eq!(
            line(&Job::from(&example())),
            concat!(
                r#"{"job":7,"name":"fib","args":["24"],"state":"exited","exit_code":0,"message":null,"#,
                r#""submitted_ms":1700000000000,"elapsed_ms":2500,"work_ms":10000,"speedup":4.0,"closures":1234,"#,
                r#""servers":2,"workers":8,"stdout_bytes":2048,"stderr_bytes":0,"files":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_failure_and_files_are_told() {
        let mut job = example();
        let message = "a \"reason\"\n".to_string();
        job.state = JobState::Failed { message };
        job.files = Some(atlas_proto::control::Files {
            tree: [0xab; 32],
            files: 2,
            bytes: 9,
        });
        let line = line(&Job::from(&job));
        assert!(line.contains(r#""state":"failed","exit_code":null,"message":"a \"reason\"\n""#));
        let files = format!(
            r#""files":{{"count":2,"bytes":9,"tree":"{}"}}}}"#,
            "ab".repeat(32)
        );
        assert!(line.ends_with(&format!("{files}\n")), "{line}");
    }

    #[test]
    fn events_say_what_they_are_and_keep_all_bytes() {
        let accepted = Accepted {
            job: atlas_proto::control::JobId(3),
            workers: 4,
        };
        assert_eq!(
            line(&Event::from(accepted)),
            "{\"event\":\"accepted\",\"job\":3,\"workers\":4}\n"
        );
        let mut frame = OutputFrame {
            stream: OutputStream::Err,
            offset: 5,
            bytes: "é\n".into(),
        };
        assert_eq!(
            line(&Event::from(&frame)),
            "{\"event\":\"output\",\"stream\":\"stderr\",\"offset\":5,\"text\":\"é\\n\"}\n"
        );
        frame.bytes = vec![0xff, 0].into();
        assert!(line(&Event::from(&frame)).contains(r#""base64":"/wA=""#));
        let ended = line(&Event::Ended(Box::new(Job::from(&example()))));
        assert!(
            ended.starts_with(r#"{"event":"ended","job":7,"name":"fib""#),
            "{ended}"
        );
    }
}
