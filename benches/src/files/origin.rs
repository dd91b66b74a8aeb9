//! An nginx of this benchmark's own, and the files that it has.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub struct Origin {
    nginx: Child,
    port: u16,
    folder: TempDir,
}

impl Origin {
    /// Starts with no files.
    ///
    /// # Errors
    /// If there is no nginx, or it does not start.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("files"))?;
        // Somebody else may take it before nginx does; then that says so.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let own = folder.path().display();
        let config = format!(
            "user root; daemon off; worker_processes 2; pid {own}/pid; error_log {own}/errors;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log {own}/access; sendfile on; tcp_nopush on;\n\
             client_body_temp_path {own}/t1; proxy_temp_path {own}/t2; fastcgi_temp_path {own}/t3;\n\
             uwsgi_temp_path {own}/t4; scgi_temp_path {own}/t5;\n\
             server {{ listen 127.0.0.1:{port}; root {own}/files; autoindex on; }} }}\n"
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, config)?;
        let nginx = Command::new(NGINX)
            .arg("-c")
            .arg(&path)
            .arg("-e")
            .arg(folder.path().join("errors"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nginx")?;
        let origin = Self {
            nginx,
            port,
            folder,
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(begun.elapsed() < PATIENCE, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(origin)
    }

    /// Where its files are on this machine.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// Its address below a mount of ours.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.host())
    }

    /// How many requests there were so far of which the line in its log has this text.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn requests(&self, text: &str) -> Result<usize> {
        let log = fs::read_to_string(self.folder.path().join("access"))?;
        Ok(log.lines().filter(|line| line.contains(text)).count())
    }

    /// How many bytes of bodies were sent so far in answer to requests of which the line in its log has this text.
    ///
    /// # Errors
    /// If the log cannot be read, or its lines are not those of nginx's format `combined`.
    pub fn bytes_sent(&self, text: &str) -> Result<u64> {
        let log = fs::read_to_string(self.folder.path().join("access"))?;
        let lines = log.lines().filter(|line| line.contains(text));
        lines
            .map(|line| {
                // ADDRESS - USER [TIME] "REQUEST" STATUS BYTES ..
                let after = line.split('"').nth(2);
                let bytes = after.and_then(|after| after.split_whitespace().nth(1));
                let bytes = bytes.with_context(|| format!("nginx has logged `{line}`"))?;
                Ok(bytes.parse::<u64>()?)
            })
            .sum()
    }

    /// Makes a file of so many bytes that do not compress.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn large(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.files().join(name);
        let mut file = File::create(&path)?;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut block = vec![0; 1 << 20];
        for _ in 0..bytes >> 20 {
            for word in block.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            file.write_all(&block)?;
        }
        Ok(path)
    }

    /// Gives a file so many more names, which are numbers.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub fn names(&self, file: &Path, count: usize) -> Result<()> {
        for n in 0..count {
            fs::hard_link(file, self.files().join(n.to_string()))?;
        }
        Ok(())
    }

    /// Makes so many small files in a folder.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub fn small(&self, folder: &str, count: usize) -> Result<PathBuf> {
        let path = self.files().join(folder);
        fs::create_dir(&path)?;
        for n in 0..count {
            fs::write(path.join(format!("file-{n:05}")), "x".repeat(n % 100))?;
        }
        Ok(path)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // Its workers end with their master by a signal that lets it tell them.
        let pid = self.nginx.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.nginx.wait();
    }
}

/// What there must be, and is not.
#[must_use]
pub fn missing() -> Option<&'static str> {
    let nginx = Path::new(NGINX).exists();
    (!nginx).then_some("there is no nginx: it is in Debian's package of this name")
}

const NGINX: &str = "/usr/sbin/nginx";
const PATIENCE: Duration = Duration::from_secs(10);
