//! Two nodes that speak by way of their manager.

use atlas_proto::ids::LeaseId;
use atlas_proto::job::{Finished, Outcome};
use atlas_proto::message::LeaseResult;

use super::*;
use crate::relay::{PacketPipe, PipeEnd, PipeError, relay};
use crate::{CloseCode, Stream, StreamKind};

/// Servers A and B with connections to their manager, which relays between them.
struct World {
    a: Connection,
    b: Connection,
    /// The manager's ends.
    to_a: Connection,
    to_b: Connection,
    _endpoints: [Endpoint; 3],
}

impl World {
    async fn new() -> Self {
        let cs = authority("cs.example.edu");
        let (manager, first, second) = (manager(&cs), server(&cs), server(&cs));
        let (a, to_a) = connect(&first, &manager).await;
        let (b, to_b) = connect(&second, &manager).await;
        Self {
            a,
            b,
            to_a,
            to_b,
            _endpoints: [manager, first, second],
        }
    }

    /// The two ends of what the manager relays, and its relaying.
    async fn streams(&self) -> (Stream, Stream, tokio::task::JoinHandle<()>) {
        let peer = self.to_b.peer().node;
        let a = self.a.open_stream(StreamKind::Relay { peer }).await;
        let (kind, from_a) = self.to_a.accept_stream().await.unwrap();
        assert_eq!(kind, StreamKind::Relay { peer });
        let peer = self.to_a.peer().node;
        let kind = StreamKind::Relay { peer };
        let to_b = self.to_b.open_stream(kind).await.unwrap();
        let (asked, b) = self.b.accept_stream().await.unwrap();
        assert_eq!(asked, kind);
        (a.unwrap(), b, tokio::spawn(relay(from_a, to_b)))
    }

    async fn pipes(&self) -> (PacketPipe, PacketPipe, tokio::task::JoinHandle<()>) {
        let (a, b, relaying) = self.streams().await;
        (PacketPipe::new(a), PacketPipe::new(b), relaying)
    }
}

/// A packet of three MiB.
fn large(ack: u32) -> Packet {
    let result = || LeaseResult {
        lease: LeaseId(1),
        finished: Finished {
            outcome: Outcome::Value(vec![5; 1 << 20].into()),
            work: Duration::ZERO,
        },
    };
    let results = vec![result(), result(), result()];
    Packet {
        message: Message::ReturnResults { results },
        ..packet(ack)
    }
}

#[tokio::test]
async fn packets_are_relayed_both_ways_in_order() {
    within(async {
        let world = World::new().await;
        let (a, b, _relaying) = world.pipes().await;
        let send = async |pipe: &PacketPipe| {
            for ack in 0..1000 {
                pipe.send_packet(&packet(ack)).await.unwrap();
            }
            pipe.send_packet(&large(1000)).await.unwrap();
        };
        let receive = async |pipe: &PacketPipe| {
            for ack in 0..1000 {
                assert_eq!(pipe.recv_packet().await.unwrap(), packet(ack));
            }
            assert_eq!(pipe.recv_packet().await.unwrap(), large(1000));
        };
        tokio::join!(send(&a), send(&b), receive(&a), receive(&b));
    })
    .await;
}

#[tokio::test]
async fn who_does_not_read_holds_up_the_sender_and_nothing_else() {
    within(async {
        let world = World::new().await;
        let (a, b, relaying) = world.pipes().await;
        let mut sent = 0;
        // Until nothing more is taken for a while.
        let stalled = Duration::from_secs(1);
        while let Ok(taken) = tokio::time::timeout(stalled, a.send_packet(&large(sent))).await {
            taken.unwrap();
            sent += 1;
            assert!(sent < 20, "somebody keeps everything");
        }
        // Two queues of eight MiB at the ends, and between them windows of one or two.
        assert!(sent <= 8, "{sent}");
        let full = loop {
            match a.try_send_packet(&packet(0)) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(full, PipeError::Full), "{full}");
        // The connections go on meanwhile, and a second pipe.
        world.a.send_packet(&packet(1)).await.unwrap();
        assert_eq!(world.to_a.recv_packet().await.unwrap(), packet(1));
        let (c, d, _relaying) = world.pipes().await;
        c.send_packet(&large(2)).await.unwrap();
        assert_eq!(d.recv_packet().await.unwrap(), large(2));
        for ack in 0..sent {
            assert_eq!(b.recv_packet().await.unwrap(), large(ack));
        }
        drop(a);
        relaying.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_end_of_either_closes_the_other() {
    within(async {
        let world = World::new().await;
        let (a, b, relaying) = world.pipes().await;
        for ack in 0..100 {
            a.send_packet(&packet(ack)).await.unwrap();
        }
        a.shut_down().await;
        for ack in 0..100 {
            assert_eq!(b.recv_packet().await.unwrap(), packet(ack));
        }
        assert_eq!(b.recv_packet().await, Err(PipeEnd::Closed));
        relaying.await.unwrap();
        let ended = loop {
            match b.send_packet(&packet(0)).await {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(ended, PipeError::Ended(_)), "{ended}");

        let (a, b, relaying) = world.pipes().await;
        drop(b);
        assert_eq!(a.recv_packet().await, Err(PipeEnd::Closed));
        relaying.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_end_that_leaves_ends_a_relay_that_is_full() {
    within(async {
        let world = World::new().await;
        let (mut a, b, relaying) = world.streams().await;
        let stalled = Duration::from_secs(1);
        let flood = a.send.write_all(&[0; 16 << 20]);
        tokio::time::timeout(stalled, flood).await.unwrap_err();
        drop(a);
        relaying.await.unwrap();
        // What was not delivered whole does not look like the end.
        let mut recv = b.recv;
        recv.read_to_end(32 << 20).await.unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_breaks_the_pipe_and_garbage_closes_it_alone() {
    within(async {
        let world = World::new().await;
        let (mut a, b, relaying) = world.streams().await;
        let b = PacketPipe::new(b);
        a.send.write_all(&[0, 0, 0, 1, 0xff]).await.unwrap();
        let ended = b.recv_packet().await.unwrap_err();
        assert!(matches!(&ended, PipeEnd::Garbage { .. }), "{ended}");
        assert!(
            ended.to_string().contains("run the same version"),
            "{ended}"
        );
        a.recv.read_to_end(9).await.unwrap_err();
        relaying.await.unwrap();

        let (_a, b, relaying) = world.pipes().await;
        world.a.close(CloseCode::Done, "it leaves");
        assert_eq!(b.recv_packet().await, Err(PipeEnd::Broken));
        relaying.await.unwrap();
        world.b.send_packet(&packet(1)).await.unwrap();
        assert_eq!(world.to_b.recv_packet().await.unwrap(), packet(1));
    })
    .await;
}
