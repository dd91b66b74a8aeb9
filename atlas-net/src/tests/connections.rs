//! What two nodes that belong together do with a connection.

use atlas_proto::ids::LeaseId;
use atlas_proto::job::{Finished, Outcome};
use atlas_proto::message::LeaseResult;

use super::*;
use crate::identity::Relation;
use crate::redial::{Backoff, BackoffLimits, Redialler};
use crate::{BindError, CloseCode, ConnectionLost, SendError, StreamKind};

/// A manager and a server of its domain, and both ends of a connection that lasts as long as they do.
async fn joined() -> ((Endpoint, Endpoint), Connection, Connection) {
    let cs = authority("cs.example.edu");
    let (manager, server) = (manager(&cs), server(&cs));
    let (up, down) = connect(&server, &manager).await;
    ((manager, server), up, down)
}

#[tokio::test]
async fn packets_go_both_ways_in_order() {
    within(async {
        let ((manager, server), up, down) = joined().await;
        assert_eq!(up.peer(), manager.identity().peer());
        assert_eq!(down.peer(), server.identity().peer());
        assert_eq!(
            (up.relation(), down.peer().role),
            (Relation::SameDomain, Role::Server)
        );
        let send = async {
            for ack in 0..2000 {
                up.send_packet(&packet(ack)).await.unwrap();
            }
        };
        let receive = async {
            for ack in 0..2000 {
                assert_eq!(down.recv_packet().await.unwrap(), packet(ack));
            }
        };
        tokio::join!(send, receive);
        assert!(up.path().latency < Duration::from_secs(1) && up.path().bytes_per_s > 0);
    })
    .await;
}

/// With the ten packets that RFC 9002 begins with, the first result of a megabyte took seven round trips, each of as many turns of
/// busy threads.
#[tokio::test]
async fn regression_on_a_short_way_the_first_large_result_goes_at_once() {
    within(async {
        let (_ends, up, down) = joined().await;
        let begun = up.window();
        let mut round_trips = 0;
        while up.window() < 10 * begun && round_trips < 2000 {
            up.send_packet(&packet(round_trips)).await.unwrap();
            down.recv_packet().await.unwrap();
            down.send_packet(&packet(round_trips)).await.unwrap();
            up.recv_packet().await.unwrap();
            round_trips += 1;
        }
        // What is small leaves it as it is.
        assert!(up.window() >= 10 * begun, "{} bytes", up.window());
    })
    .await;
}

#[tokio::test]
async fn managers_of_a_tree_connect_up_and_down() {
    within(async {
        let edu = authority("example.edu");
        let cs = authority_below(&edu, "cs.example.edu");
        let (parent, child) = (manager(&edu), manager(&cs));
        let (up, down) = connect(&child, &parent).await;
        assert_eq!(
            (up.relation(), down.relation()),
            (Relation::Parent, Relation::Child)
        );
        let (down, up) = connect(&parent, &child).await;
        assert_eq!(
            (up.relation(), down.relation()),
            (Relation::Parent, Relation::Child)
        );
        serves(&child, &cs).await;
    })
    .await;
}

#[tokio::test]
async fn the_largest_packets_pass_and_wait_for_a_reader() {
    within(async {
        let (_endpoints, up, down) = joined().await;
        let bytes = vec![5; 1 << 20];
        let result = || LeaseResult {
            lease: LeaseId(1),
            finished: Finished {
                outcome: Outcome::Value(bytes.clone().into()),
                work: Duration::ZERO,
            },
        };
        let message = Message::ReturnResults {
            results: vec![result(), result(), result()],
        };
        let large = Packet {
            message,
            ..packet(1)
        };
        // Nobody reads: queues fill and the sender is told.
        let mut sent = 0;
        let full = loop {
            match up.try_send_packet(&large) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent < 1000);
        };
        assert!(matches!(full, SendError::Full), "{full}");
        assert!(sent <= 2, "{sent}");
        let send = async {
            for _ in 0..8 {
                up.send_packet(&large).await.unwrap();
            }
        };
        let receive = async {
            for _ in 0..sent + 8 {
                assert_eq!(down.recv_packet().await.unwrap(), large);
            }
        };
        tokio::join!(send, receive);
        let message = Message::ReturnResults {
            results: vec![result(); 5],
        };
        let error = up
            .send_packet(&Packet {
                message,
                ..packet(1)
            })
            .await
            .unwrap_err();
        assert!(error.to_string().contains("split the message"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn streams_say_what_they_are_for() {
    within(async {
        let (_endpoints, up, down) = joined().await;
        let kinds = [
            StreamKind::Blob {
                hash: [3; 32],
                job: u64::MAX,
            },
            StreamKind::Request { topic: 70_000 },
        ];
        for kind in kinds {
            let mut asking = up.open_stream(kind).await.unwrap();
            asking.send.write_all(b"please").await.unwrap();
            asking.send.finish().unwrap();
            let (asked, mut answering) = down.accept_stream().await.unwrap();
            assert_eq!(asked, kind);
            assert_eq!(answering.recv.read_to_end(99).await.unwrap(), b"please");
            answering.send.write_all(b"here").await.unwrap();
            answering.send.finish().unwrap();
            assert_eq!(asking.recv.read_to_end(99).await.unwrap(), b"here");
        }
    })
    .await;
}

#[tokio::test]
async fn many_streams_that_nobody_reads_hold_up_no_packet() {
    within(async {
        let (_endpoints, up, down) = joined().await;
        let (mut asked, mut waiting) = (Vec::new(), Vec::new());
        for topic in 0..40 {
            let mut stream = up.open_stream(StreamKind::Request { topic }).await.unwrap();
            stream.send.write_all(&[1; 100_000]).await.unwrap();
            asked.push(stream);
            waiting.push(down.accept_stream().await.unwrap());
        }
        up.send_packet(&packet(1)).await.unwrap();
        assert_eq!(down.recv_packet().await.unwrap(), packet(1));
        for (topic, (kind, _)) in (0..).zip(&waiting) {
            assert_eq!(*kind, StreamKind::Request { topic });
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_shut_down_delivers_all_first() {
    within(async {
        let (_endpoints, up, down) = joined().await;
        for ack in 0..200 {
            up.send_packet(&packet(ack)).await.unwrap();
        }
        up.shut_down().await;
        for ack in 0..200 {
            assert_eq!(down.recv_packet().await.unwrap(), packet(ack));
        }
        down.recv_packet().await.unwrap_err();
        assert!(matches!(
            up.send_packet(&packet(0)).await,
            Err(SendError::Lost(_))
        ));
    })
    .await;
}

#[tokio::test]
async fn both_sides_hear_why_a_connection_ended() {
    within(async {
        let cs = authority("cs.example.edu");
        let (manager, server) = (manager(&cs), server(&cs));
        let (up, down) = connect(&server, &manager).await;
        down.close(CloseCode::Refused, "the manager is full\u{1b}[31m");
        let ours = down.recv_packet().await.unwrap_err();
        assert!(
            matches!(
                &ours,
                ConnectionLost::ByUs {
                    code: CloseCode::Refused,
                    ..
                }
            ),
            "{ours}"
        );
        let theirs = up.recv_packet().await.unwrap_err().to_string();
        assert!(
            theirs.contains("the peer closed the connection (refused): the manager is full [31m"),
            "{theirs}"
        );
        // The last handle ends it, too.
        let (up, down) = connect(&server, &manager).await;
        drop(up);
        let lost = down.closed().await.to_string();
        assert!(
            lost.contains("(done): the connection is no longer used"),
            "{lost}"
        );
        serves(&manager, &cs).await;
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let cs = authority("cs.example.edu");
    let first = server(&cs);
    let taken = address(&first);
    let refused = Endpoint::bind(
        taken,
        identity(&cs, Role::Server),
        &EndpointOptions::default(),
    );
    let error = refused.unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&format!(
            "UDP port {} of 127.0.0.1 is already in use",
            taken.port()
        )),
        "{text}"
    );
    assert!(text.contains("choose another port"), "{text}");
    within(serves(&first, &cs)).await;
    let elsewhere = ([192, 0, 2, 1], 0).into();
    let refused = Endpoint::bind(
        elsewhere,
        identity(&cs, Role::Server),
        &EndpointOptions::default(),
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("choose an address of this machine")
    );
}

#[tokio::test]
async fn an_identity_is_replaced_while_connections_last() {
    within(async {
        let cs = authority("cs.example.edu");
        let (manager, server) = (manager(&cs), server(&cs));
        let (up, down) = connect(&server, &manager).await;
        for endpoint in [&manager, &server] {
            let (key, now) = (endpoint.identity().key().clone(), SystemTime::now());
            let role = endpoint.identity().peer().role;
            let issued = cs
                .issue(&key.request().unwrap(), role, now, LEAF_LIFETIME * 2)
                .unwrap();
            endpoint
                .replace_identity(Identity::new(key, issued, now).unwrap())
                .unwrap();
        }
        let (new_up, new_down) = connect(&server, &manager).await;
        assert!(new_up.ends_at() > up.ends_at() && new_down.ends_at() > down.ends_at());
        assert_eq!(new_up.peer(), up.peer());
        up.send_packet(&packet(3)).await.unwrap();
        assert_eq!(down.recv_packet().await.unwrap(), packet(3));
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_that_it_was_made_with() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        let short = identity_for(&cs, Role::Server, Duration::from_secs(8));
        let server = bind(short, &EndpointOptions::default());
        let (up, _down) = connect(&server, &manager).await;
        let lost = up.closed().await.to_string();
        assert!(
            lost.contains("(certificate ended): your certificate has ended"),
            "{lost}"
        );
        let refused = refused(&server, &manager).await;
        assert!(
            refused.contains("does not hold here") && refused.contains("out of date"),
            "{refused}"
        );
        serves(&manager, &cs).await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_is_dialled_again() {
    within(async {
        let cs = authority("cs.example.edu");
        let (manager, server) = (manager(&cs), server(&cs));
        let limits = BackoffLimits {
            first: Duration::from_millis(5),
            ..BackoffLimits::default()
        };
        let (address, expected) = (address(&manager), expected(&manager));
        let mut redialler = Redialler::new([address], expected, Backoff::new(limits, 1));
        for ack in 0..4 {
            let (up, down) = tokio::join!(redialler.connect(&server), accept_node(&manager));
            up.send_packet(&packet(ack)).await.unwrap();
            assert_eq!(down.recv_packet().await.unwrap(), packet(ack));
            down.close(CloseCode::Done, "come again");
            up.closed().await;
        }
    })
    .await;
}
