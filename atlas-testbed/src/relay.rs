//! A relay of datagrams that a client or a server takes for its manager: it counts bytes, and loses datagrams if that is wanted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Runs until it is dropped; for one client at a time.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    from_client: AtomicU64,
    /// Every datagram of such a number is lost; none if zero.
    lost: u64,
    passed: AtomicU64,
    ended: AtomicBool,
}

impl Shared {
    fn is_lost(&self) -> bool {
        let number = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        self.lost != 0 && number.is_multiple_of(self.lost)
    }
}

impl Relay {
    /// Begins to relay to a manager.
    ///
    /// # Errors
    ///
    /// There is no port.
    pub fn start(manager: SocketAddr) -> io::Result<Self> {
        Self::losing(manager, 0)
    }

    /// As [`Relay::start`], and loses one of so many datagrams, whichever way they go; none if zero.
    ///
    /// # Errors
    ///
    /// There is no port.
    pub fn losing(manager: SocketAddr, one_of: u64) -> io::Result<Self> {
        let socket = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_read_timeout(Some(LOOK_INTERVAL))?;
            Ok(socket)
        };
        let (near, far) = (socket()?, socket()?);
        far.connect(manager)?;
        let address = near.local_addr()?;
        let shared = Arc::new(Shared {
            from_client: AtomicU64::new(0),
            lost: one_of,
            passed: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
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
        if let Ok((length, from)) = socket.recv_from(&mut buffer)
            && !shared.is_lost()
        {
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

    #[test]
    fn one_of_so_many_datagrams_is_lost() {
        let manager = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::losing(manager.local_addr().unwrap(), 3).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let arrived = (0_u8..9).map(|number| {
            client.send_to(&[number], relay.address()).unwrap();
            // The next one is sent when this one has arrived, so that none overtakes it.
            if number % 3 == 2 {
                return None;
            }
            let mut buffer = [0; 1];
            manager.recv_from(&mut buffer).unwrap();
            Some(buffer[0])
        });
        assert_eq!(arrived.flatten().collect::<Vec<_>>(), [0, 1, 3, 4, 6, 7]);
    }
}
