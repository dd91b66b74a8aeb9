//! Counts the bytes between a client and its manager: a relay of datagrams that the client takes for the manager.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Runs until it is dropped; for one client at a time.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    from_client: AtomicU64,
    ended: AtomicBool,
}

impl Relay {
    /// Begins to relay to a manager.
    ///
    /// # Errors
    /// If there is no port.
    pub fn start(manager: SocketAddr) -> Result<Self> {
        let socket = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_read_timeout(Some(LOOK_INTERVAL))?;
            Ok(socket)
        };
        let (near, far) = (socket()?, socket()?);
        far.connect(manager)
            .with_context(|| format!("{manager} cannot be reached"))?;
        let address = near.local_addr()?;
        let shared = Arc::new(Shared::default());
        // The client's address is known when it has said something.
        let (known, client) = std::sync::mpsc::channel();
        let (near, far) = (Arc::new(near), Arc::new(far));
        let there = {
            let (near, far, shared) = (near.clone(), far.clone(), shared.clone());
            thread::spawn(move || {
                forward(&shared, &near, |bytes, from| {
                    let _ = known.send(from);
                    shared
                        .from_client
                        .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    let _ = far.send(bytes);
                });
            })
        };
        let back = {
            let shared = shared.clone();
            thread::spawn(move || {
                let mut last = None;
                forward(&shared, &far, |bytes, _| {
                    last = client.try_iter().last().or(last);
                    if let Some(client) = last {
                        let _ = near.send_to(bytes, client);
                    }
                });
            })
        };
        Ok(Self {
            address,
            shared,
            threads: vec![there, back],
        })
    }

    /// Where the client is to look for the manager.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes the client has sent, in all its datagrams.
    #[must_use]
    pub fn from_client(&self) -> u64 {
        self.shared.from_client.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn forward(shared: &Shared, socket: &UdpSocket, mut pass: impl FnMut(&[u8], SocketAddr)) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !shared.ended.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            pass(&buffer[..length], from);
        }
    }
}

const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Whether it is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_passed_both_ways_and_counted_one_way() {
        let manager = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::start(manager.local_addr().unwrap()).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.send_to(b"question", relay.address()).unwrap();
        let mut buffer = [0; 100];
        let (length, from) = manager.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        manager.send_to(b"an answer", from).unwrap();
        let (length, _) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"an answer");
        assert_eq!(relay.from_client(), 8);
    }
}
