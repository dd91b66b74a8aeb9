//! Which address is dialled next.

use super::*;
use crate::CloseCode;
use crate::redial::{Backoff, BackoffLimits, Redialler};

#[tokio::test]
async fn addresses_are_tried_in_turn_and_names_are_resolved() {
    within(async {
        let cs = authority("cs.example.edu");
        let (manager, server) = (manager(&cs), server(&cs));
        // Nothing has the first name, and somebody else answers at the second address.
        let other = super::manager(&authority("other.org"));
        let port = address(&manager).port();
        let addresses = [
            "no..host:7".to_owned(),
            address(&other).to_string(),
            format!("localhost:{port}"),
        ];
        let limits = BackoffLimits {
            first: Duration::from_millis(5),
            ..BackoffLimits::default()
        };
        let expected = Expected::manager_of(cs.domain().clone());
        let mut redialler = Redialler::new(addresses, expected, Backoff::new(limits, 1));
        for ack in 0..2 {
            let (up, down) = tokio::join!(redialler.connect(&server), accept_node(&manager));
            up.send_packet(&packet(ack)).await.unwrap();
            assert_eq!(down.recv_packet().await.unwrap(), packet(ack));
            down.close(CloseCode::Done, "come again");
            up.closed().await;
        }
    })
    .await;
}
