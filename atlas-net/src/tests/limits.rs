//! How many connections an endpoint takes, and of whom.

use super::*;
use crate::{CloseCode, ConnectError, ConnectionLost};

fn manager_with(authority: &DomainAuthority, options: EndpointOptions) -> Endpoint {
    bind(identity(authority, Role::Manager), &options)
}

#[tokio::test]
async fn a_node_that_connects_again_and_again_loses_its_oldest_connections() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        let (one, other) = (server(&cs), server(&cs));
        let (_up, other_down) = connect(&other, &manager).await;
        let mut held = std::collections::VecDeque::new();
        let per_node_max = EndpointOptions::default().connections_per_node_max;
        for round in 0..per_node_max * 2 {
            held.push_back(connect(&one, &manager).await);
            if round >= per_node_max {
                let (up, down) = held.pop_front().unwrap();
                let lost = up.closed().await.to_string();
                assert!(
                    lost.contains("(replaced): this node has connected again"),
                    "{lost}"
                );
                down.recv_packet().await.unwrap_err();
            }
        }
        for (up, down) in &held {
            up.send_packet(&packet(1)).await.unwrap();
            assert_eq!(down.recv_packet().await.unwrap(), packet(1));
        }
        other_down.send_packet(&packet(2)).await.unwrap();
        // Those that have ended take no place.
        drop(held);
        let kept = connect(&one, &manager).await;
        for _ in 1..per_node_max {
            drop(connect(&one, &manager).await);
        }
        kept.0.send_packet(&packet(3)).await.unwrap();
        assert_eq!(kept.1.recv_packet().await.unwrap(), packet(3));
    })
    .await;
}

/// Each command of a user's has a connection: six that were begun at once pushed each other out.
#[tokio::test]
async fn regression_a_user_runs_more_commands_at_once_than_a_node_has_connections() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        for role in [Role::Client, Role::Admin] {
            let user = bind(identity(&cs, role), &EndpointOptions::default());
            let mut held = Vec::new();
            for _ in 0..EndpointOptions::default().connections_per_node_max + 2 {
                held.push(connect(&user, &manager).await);
            }
            for (up, down) in &held {
                up.send_packet(&packet(1)).await.unwrap();
                assert_eq!(down.recv_packet().await.unwrap(), packet(1));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_endpoint_says_so_and_takes_those_again_that_it_has() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager_with(
            &cs,
            EndpointOptions {
                connections_max: 2,
                ..EndpointOptions::manager()
            },
        );
        let servers = [server(&cs), server(&cs), server(&cs)];
        let (first, first_down) = connect(&servers[0], &manager).await;
        let (_second, second_down) = connect(&servers[1], &manager).await;
        let expected = expected(&manager);
        let refused = servers[2].connect(address(&manager), &expected).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(
                &refused,
                ConnectError::Refused {
                    source: ConnectionLost::ByPeer { code, .. },
                    ..
                } if code.known() == Some(CloseCode::Full)
            ),
            "{refused}"
        );
        let text = refused.to_string();
        assert!(
            text.contains("takes 2 connections and has as many"),
            "{text}"
        );
        assert!(turned_away(&manager).await.contains("has as many"));
        // Who is here already may come again: its old connection may be one that nobody uses.
        let (again, again_down) = connect(&servers[0], &manager).await;
        let lost = first.closed().await.to_string();
        assert!(lost.contains("(replaced)"), "{lost}");
        drop(first_down);
        again.send_packet(&packet(1)).await.unwrap();
        assert_eq!(again_down.recv_packet().await.unwrap(), packet(1));
        // And where one leaves, another finds room.
        drop(second_down);
        connect(&servers[2], &manager).await;
    })
    .await;
}

#[tokio::test]
async fn connections_that_this_node_has_dialled_take_no_place() {
    within(async {
        let cs = authority("cs.example.edu");
        let dialler = manager_with(
            &cs,
            EndpointOptions {
                connections_max: 1,
                ..EndpointOptions::manager()
            },
        );
        let servers = [server(&cs), server(&cs), server(&cs)];
        let mut held = Vec::new();
        for server in &servers {
            held.push(connect(&dialler, server).await);
        }
        serves(&dialler, &cs).await;
    })
    .await;
}
