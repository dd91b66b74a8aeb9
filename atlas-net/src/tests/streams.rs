//! Questions and answers on streams.

use serde::{Deserialize, Serialize};

use super::*;
use crate::{Stream, StreamError, StreamKind};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    name: String,
    bytes: Vec<u8>,
}

impl Question {
    fn new(bytes: usize) -> Self {
        let name = format!("of {bytes} bytes");
        let bytes = vec![3; bytes];
        Self { name, bytes }
    }
}

/// Two ends of a stream, with all that must be there as long as it is used.
struct Ends {
    asking: Stream,
    answering: Stream,
    up: Connection,
    _down: Connection,
    _endpoints: [Endpoint; 2],
}

impl Ends {
    async fn new() -> Self {
        let cs = authority("cs.example.edu");
        let (manager, server) = (manager(&cs), server(&cs));
        let (up, down) = connect(&server, &manager).await;
        let kind = StreamKind::Request { topic: 7 };
        let asking = up.open_stream(kind).await.unwrap();
        let (asked, answering) = down.accept_stream().await.unwrap();
        assert_eq!(asked, kind);
        Self {
            asking,
            answering,
            up,
            _down: down,
            _endpoints: [manager, server],
        }
    }
}

#[tokio::test]
async fn a_question_is_answered() {
    within(async {
        let mut ends = Ends::new().await;
        ends.asking.send_message(&Question::new(9)).await.unwrap();
        let asked: Question = ends.answering.recv_message(99).await.unwrap();
        assert_eq!(asked, Question::new(9));
        ends.answering.send_message(&Some(7_u64)).await.unwrap();
        let answer: Option<u64> = ends.asking.recv_message(99).await.unwrap();
        assert_eq!(answer, Some(7));
    })
    .await;
}

#[tokio::test]
async fn several_messages_come_in_order_and_end_cleanly() {
    within(async {
        let mut ends = Ends::new().await;
        let sizes = [0, 1, 100_000, 3 << 20, 5];
        let send = async {
            for bytes in sizes {
                ends.asking.send_frame(&Question::new(bytes)).await.unwrap();
            }
            // A message may have no bytes at all.
            ends.asking.send_frame(&()).await.unwrap();
            ends.asking.finish().unwrap();
            ends.asking.finish().unwrap_err();
        };
        let receive = async {
            for bytes in sizes {
                let question = ends.answering.recv_frame(4 << 20).await.unwrap();
                assert_eq!(question, Some(Question::new(bytes)));
            }
            assert_eq!(ends.answering.recv_frame(0).await.unwrap(), Some(()));
            assert_eq!(ends.answering.recv_frame::<()>(0).await.unwrap(), None);
        };
        tokio::join!(send, receive);
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_cut_or_else_than_expected_is_garbage() {
    within(async {
        let garbage = [
            // Announced and never sent.
            &[1, 1, 0, 0][..],
            &[0xff; 4],
            &[3, 0, 0, 0, 1, 2],
            &[3, 0],
            // One byte more than the message has.
            &[3, 0, 0, 0, 1, 2, 3],
            // Not enough for the message.
            &[1, 0, 0, 0, 0xff],
        ];
        for bytes in garbage {
            let mut ends = Ends::new().await;
            ends.asking.send.write_all(bytes).await.unwrap();
            ends.asking.finish().unwrap();
            let received = ends.answering.recv_frame::<u16>(256).await;
            assert!(matches!(received, Err(StreamError::Garbage)), "{bytes:?}");
        }
        let mut ends = Ends::new().await;
        ends.asking.send_message(&Question::new(99)).await.unwrap();
        let received = ends.answering.recv_message::<Question>(50).await;
        assert!(matches!(received, Err(StreamError::Garbage)));
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_given_up_or_lost_says_which() {
    within(async {
        let mut ends = Ends::new().await;
        let _ = ends.asking.send.reset(7_u32.into());
        let received = ends.answering.recv_frame::<u16>(256).await;
        assert!(matches!(received, Err(StreamError::BrokenOff)));
        let mut ends = Ends::new().await;
        ends.up.close(crate::CloseCode::Done, "that is all");
        let received = ends.answering.recv_frame::<u16>(256).await;
        assert!(matches!(received, Err(StreamError::Lost(_))));
        let sent = ends.asking.send_frame(&1).await;
        assert!(matches!(sent, Err(StreamError::Lost(_))), "{sent:?}");
    })
    .await;
}
