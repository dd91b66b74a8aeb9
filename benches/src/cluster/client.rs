//! What a client sends: a large program and large inputs for many servers, each byte once, and what the manager holds of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use atlas_testbed::{Relay, program};

use super::domain::Domain;
use super::figures::{Found, Metric};
use super::process::memory;
use crate::options::Size;

/// Submits through a relay that counts.
///
/// # Errors
/// If the job fails.
pub fn measure(size: Size) -> Result<Found> {
    let (servers, program_mb, inputs_mb) = size.pick((8, 20, 100), (2, 8, 4));
    let domain = Domain::with_servers(servers);
    let relay = Relay::start(domain.manager.address()).context("the manager cannot be reached")?;
    let address = relay.address().to_string();
    let made =
        domain
            .manager
            .administer(["token", "create", "--role", "client", "--address", &address]);
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let shell = domain.cluster.stranger();
    shell.ok(["login", String::from_utf8_lossy(&made.stdout).trim()]);

    let padded = padded_program(&shell.here(), program_mb << 20)?;
    let input = shell.write("input", noise(inputs_mb << 20));
    let bytes = fs::metadata(&padded)?.len() + fs::metadata(&input)?.len();
    let before = relay.from_client();
    let tasks = (2 * servers).to_string();
    let output = shell.run([
        "submit".as_ref(),
        "--quiet".as_ref(),
        "--input".as_ref(),
        input.as_os_str(),
        padded.as_os_str(),
        "--".as_ref(),
        tasks.as_ref(),
    ]);
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let sent = relay.from_client() - before;
    let peak = memory(domain.manager.pid())?.peak;
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
    let ratio = sent as f64 / bytes as f64;
    Ok(Found {
        figures: vec![(Metric::ClientBytesRatio, ratio)],
        notes: vec![
            format!("{:.1} MB to {servers} servers", bytes as f64 / 1e6),
            format!("the manager held at most {peak:.1} MB; it is to be less than 64"),
        ],
    })
}

/// A program as long as that: what follows the end of an executable is not looked at.
fn padded_program(folder: &Path, bytes: usize) -> Result<PathBuf> {
    let path = folder.join("padded");
    let mut content = fs::read(program("job_wait")).context("cannot read job_wait")?;
    content.extend(noise(bytes.saturating_sub(content.len())));
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Bytes that cannot be packed (Marsaglia's xorshift64).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ bytes as u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}
