//! The client library against a manager on this machine.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod support;

use std::time::Duration;

use atlas_net::identity::Role;
use atlas_proto::control::{
    JobId, JobState, NATIVE, OutputStream, Submission, SubmissionNumber, TokenRequest,
};
use atlas_shell::blobs::Blobs;
use atlas_shell::client::{Client, ClientError, Output};
use support::FakeManager;
use tempfile::NamedTempFile;

fn submission(artifact: [u8; 32], args: &[&str]) -> Submission {
    Submission {
        name: "program".into(),
        engine: NATIVE.into(),
        artifact,
        command_line: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        inputs: None,
        number: SubmissionNumber([7; 16]),
    }
}

/// Some blobs with a program, and its file, which must stay as it is.
async fn program(content: &[u8]) -> (Blobs, [u8; 32], NamedTempFile) {
    let blobs = Blobs::new().unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let added = blobs.add_program(file.path()).await.unwrap();
    assert_eq!(added.hash, *blake3::hash(content).as_bytes());
    (blobs, added.hash, file)
}

async fn submit(client: &Client, args: &[&str]) -> JobId {
    let (blobs, artifact, _file) = program(b"a program").await;
    let submission = submission(artifact, args);
    client.submit(&submission, None, &blobs).await.unwrap().job
}

async fn read(mut output: Output) -> [Vec<u8>; 2] {
    let mut read = [Vec::new(), Vec::new()];
    while let Some(frame) = output.next().await.unwrap() {
        read[frame.stream.index()].extend_from_slice(&frame.bytes);
    }
    read
}

#[tokio::test]
async fn a_job_is_submitted_with_the_blobs_that_the_manager_lacks() {
    let manager = FakeManager::start();
    let client = Client::connect(&manager.login(Duration::ZERO))
        .await
        .unwrap();
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (blobs, artifact, _file) = program(&content).await;
    let submission = submission(artifact, &["24"]);
    let accepted = client.submit(&submission, None, &blobs).await.unwrap();
    assert_eq!((accepted.job, accepted.workers), (JobId(1), 4));
    assert!(manager.shared.blobs.has(artifact));
    let sent = blobs.sent();
    assert!(sent > 0);
    client.submit(&submission, None, &blobs).await.unwrap();
    assert_eq!(blobs.sent(), sent, "what the manager has is not sent again");

    let jobs = client.jobs().await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.0).collect::<Vec<_>>(), [1, 2]);
    let fetched = Blobs::new().unwrap();
    client.fetch(artifact, 3_000_000, &fetched).await.unwrap();
    assert!(fetched.has(artifact));
    let missing = client.fetch([1; 32], 9, &fetched).await.unwrap_err();
    assert!(missing.to_string().contains("0101"), "{missing}");
    client.close().await;
}

#[tokio::test]
async fn output_is_exact_and_what_is_skipped_is_not_sent() {
    let manager = FakeManager::start();
    let client = Client::connect(&manager.login(Duration::ZERO))
        .await
        .unwrap();
    let job = submit(&client, &["some", "words"]).await;
    let all = read(client.output(job, [0, 0], false).await.unwrap()).await;
    assert_eq!(
        all,
        [b"ran some words\n".to_vec(), vec![0xff, 0, b'\n', 0xfe]]
    );
    let rest = read(client.output(job, [5, 3], true).await.unwrap()).await;
    assert_eq!(rest, [all[0][5..].to_vec(), all[1][3..].to_vec()]);
    let mut first = client.output(job, [5, 0], false).await.unwrap();
    let frame = first.next().await.unwrap().unwrap();
    assert_eq!((frame.stream, frame.offset), (OutputStream::Out, 5));
}

#[tokio::test]
async fn a_job_is_watched_until_it_is_killed() {
    let manager = FakeManager::start();
    let client = Client::connect(&manager.login(Duration::ZERO))
        .await
        .unwrap();
    let job = submit(&client, &["hang"]).await;
    let mut watch = client.watch(job).await.unwrap();
    assert_eq!(
        watch.next().await.unwrap().unwrap().state,
        JobState::Running
    );
    let output = client.output(job, [0, 0], true).await.unwrap();
    let (printed, killed, ended) =
        tokio::join!(read(output), client.kill(job), watch.ended(|_| {}));
    assert_eq!(printed[0], b"ran hang\n");
    assert_eq!(killed.unwrap().state, JobState::Killed);
    assert_eq!(ended.unwrap().state, JobState::Killed);
}

#[tokio::test]
async fn refusals_are_told_in_the_managers_words() {
    let manager = FakeManager::start();
    let client = Client::connect(&manager.login(Duration::ZERO))
        .await
        .unwrap();
    let unknown = client.kill(JobId(99)).await.unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "the manager refuses: there is no job 99"
    );
    let watch = client.watch(JobId(99)).await.unwrap().ended(|_| {}).await;
    assert!(matches!(watch, Err(ClientError::Refused(_))), "{watch:?}");

    let request = TokenRequest {
        role: "client".into(),
        lifetime: Duration::from_secs(60),
        uses: 1,
        addresses: Vec::new(),
    };
    let refused = client.create_token(request.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("administrator"), "{refused}");
    let admin = manager.login_as(Role::Admin, Duration::ZERO);
    let admin = Client::connect(&admin).await.unwrap();
    let token = admin.create_token(request).await.unwrap();
    assert_eq!(token, "a token for a client, for 1");

    // A blob that the client does not have.
    let blobs = Blobs::new().unwrap();
    let submission = submission([5; 32], &[]);
    let refused = client.submit(&submission, None, &blobs).await.unwrap_err();
    assert!(matches!(refused, ClientError::Unsent(_)), "{refused}");
}

#[tokio::test]
async fn a_lost_connection_is_an_error_that_says_why() {
    let manager = FakeManager::start();
    let client = Client::connect(&manager.login(Duration::ZERO))
        .await
        .unwrap();
    let job = submit(&client, &["lose"]).await;
    let mut output = client.output(job, [0, 0], true).await.unwrap();
    let error = loop {
        match output.next().await {
            Ok(frame) => assert!(frame.is_some(), "the output ends as if all were well"),
            Err(error) => break error,
        }
    };
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(
        error.contains("was lost") && error.contains("the manager is stopped"),
        "{error}"
    );
    let error = client.jobs().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost(_)), "{error}");
}

#[tokio::test]
async fn a_program_that_was_changed_meanwhile_is_not_sent() {
    let manager = FakeManager::start();
    let client = Client::connect(&manager.login(Duration::ZERO))
        .await
        .unwrap();
    let (blobs, artifact, file) = program(b"a program").await;
    std::fs::write(file.path(), "another").unwrap();
    let refused = client
        .submit(&submission(artifact, &[]), None, &blobs)
        .await;
    let refused = refused.unwrap_err().to_string();
    let why = "was changed since it was submitted";
    assert!(refused.contains(why), "{refused}");
    assert!(!manager.shared.blobs.has(artifact));
}

#[tokio::test]
async fn who_is_not_there_is_named() {
    let mut login = FakeManager::start().login(Duration::ZERO);
    login.addresses = vec!["nowhere.invalid:7117".into()];
    let error = Client::connect(&login).await.unwrap_err().to_string();
    assert!(
        error.contains("cs.example.edu") && error.contains("nowhere.invalid:7117"),
        "{error}"
    );
}
