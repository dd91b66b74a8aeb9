//! What is not the blob that was asked for is thrown away, whatever it is, and it is said why.

use std::pin::Pin;
use std::task::{Context, Poll};

use atlas_fs::{BlobName, Fault, ReceiveError, Store};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::support::{BYTES_MAX, Scratch, eventually, packed, random, text};

/// Both forms refuse it, and nothing is left.
async fn refuse(name: BlobName, stream: &[u8], bytes_max: u64) -> Fault {
    let scratch = Scratch::new();
    let plain = scratch
        .store
        .receive_plain(name, &mut &stream[..], false, bytes_max)
        .await;
    assert!(matches!(plain, Err(ReceiveError::Refused { .. })));
    let error = scratch
        .store
        .receive_packed(name, &mut &stream[..], bytes_max)
        .await
        .unwrap_err();
    assert!(scratch.files().is_empty(), "something is left");
    assert!(error.to_string().contains(&name.to_string()));
    let ReceiveError::Refused { fault, .. } = error else {
        panic!("{error}");
    };
    fault
}

#[tokio::test]
async fn a_flipped_bit_is_found_wherever_it_is() {
    for content in [text(3000), random(600, 3), vec![]] {
        let (name, stream) = (BlobName::of(&content), packed(&content).await);
        for at in 0..stream.len() {
            let mut stream = stream.clone();
            stream[at] ^= 1 << (at % 8);
            // In zstd's own header there are bits that mean nothing; what is unpacked is right then.
            let scratch = Scratch::new();
            let received = scratch
                .store
                .receive_packed(name, &mut &stream[..], BYTES_MAX)
                .await;
            match received {
                Ok(_) => assert_eq!(scratch.store.read(name, BYTES_MAX).unwrap(), content),
                Err(_) => assert!(scratch.files().is_empty()),
            }
        }
    }
}

#[tokio::test]
async fn a_large_blob_with_a_flipped_bit_leaves_nothing() {
    let content = random(5 << 20, 4);
    let mut stream = packed(&content).await;
    stream[4 << 20] ^= 1;
    let fault = refuse(BlobName::of(&content), &stream, BYTES_MAX).await;
    assert!(matches!(fault, Fault::WrongContent { .. }), "{fault}");
}

#[tokio::test]
async fn truncation_is_found_at_every_length() {
    let content = text(2000);
    let (name, stream) = (BlobName::of(&content), packed(&content).await);
    for bytes in 0..stream.len() {
        let fault = refuse(name, &stream[..bytes], BYTES_MAX).await;
        assert!(
            matches!(fault, Fault::CutShort { packed_bytes } if packed_bytes == bytes as u64),
            "{fault}"
        );
    }
    let content = random(1 << 20, 5);
    let stream = packed(&content).await;
    let fault = refuse(BlobName::of(&content), &stream[..512 << 10], BYTES_MAX).await;
    assert!(fault.to_string().contains("after 524288 bytes"), "{fault}");
}

#[tokio::test]
async fn extra_bytes_are_found() {
    for content in [vec![], text(2000), random(256 * 1024 - 40, 6)] {
        let (name, stream) = (BlobName::of(&content), packed(&content).await);
        for extra in [&[0][..], &stream.clone(), &random(300_000, 7)] {
            let stream = [&stream, extra].concat();
            let fault = refuse(name, &stream, BYTES_MAX).await;
            assert!(
                matches!(fault, Fault::Extra | Fault::Bloated { .. }),
                "{fault}"
            );
        }
    }
}

#[tokio::test]
async fn another_blob_is_called_by_its_name() {
    let stream = packed(b"another").await;
    let fault = refuse(BlobName::of(b"wanted"), &stream, BYTES_MAX).await;
    assert!(
        fault
            .to_string()
            .contains(&BlobName::of(b"another").to_string()),
        "{fault}"
    );
}

#[tokio::test]
async fn a_lying_length_is_found() {
    let content = text(2000);
    for said in [0, 1, 1999, 2001, 1 << 29] {
        let mut stream = packed(&content).await;
        stream[..8].copy_from_slice(&u64::to_le_bytes(said));
        let fault = refuse(BlobName::of(&content), &stream, BYTES_MAX).await;
        assert!(
            matches!(fault, Fault::WrongLength { said: found } if found == said)
                || matches!(fault, Fault::Bloated { .. }) && said == 0,
            "{fault}"
        );
    }
}

#[tokio::test]
async fn bombs_are_not_let_in() {
    let content = vec![0; 64 << 20];
    let (name, mut stream) = (BlobName::of(&content), packed(&content).await);
    assert!(stream.len() < 20_000);
    let fault = refuse(name, &stream, (64 << 20) - 1).await;
    assert!(
        matches!(fault, Fault::TooLarge { said, .. } if said == 64 << 20),
        "{fault}"
    );
    stream[..8].copy_from_slice(&u64::to_le_bytes(1 << 20));
    let fault = refuse(name, &stream, 1 << 20).await;
    assert!(matches!(fault, Fault::WrongLength { .. }), "{fault}");
    stream[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let fault = refuse(name, &stream, BYTES_MAX).await;
    assert!(matches!(fault, Fault::TooLarge { .. }), "{fault}");
}

#[tokio::test]
async fn frames_that_are_drawn_out_are_not_let_in() {
    // A frame with a window of 1 KiB and no end of empty raw blocks.
    let mut stream = 10u64.to_le_bytes().to_vec();
    stream.extend([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00]);
    stream.extend([0, 0, 0].repeat(100_000));
    let fault = refuse(BlobName::of(b"0123456789"), &stream, BYTES_MAX).await;
    assert!(matches!(fault, Fault::Bloated { .. }), "{fault}");
}

#[tokio::test]
async fn a_frame_that_asks_for_much_memory_is_not_let_in() {
    let mut stream = (1u64 << 29).to_le_bytes().to_vec();
    // A window of 2 to the power of 10 + 17: 128 MiB.
    stream.extend([0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3]);
    stream.extend([0; 300]);
    let fault = refuse(BlobName::of(b""), &stream, BYTES_MAX).await;
    assert!(matches!(fault, Fault::Garbled(_)), "{fault}");
}

#[tokio::test]
async fn garbage_is_called_so() {
    for seed in 0..20 {
        let mut stream = 1000u64.to_le_bytes().to_vec();
        stream.extend(random(900, seed));
        let fault = refuse(BlobName::of(b""), &stream, BYTES_MAX).await;
        assert!(matches!(fault, Fault::Garbled(_)), "{fault}");
    }
}

/// Gives some bytes and then an error.
struct Breaks<'a>(&'a [u8]);

impl AsyncRead for Breaks<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

#[tokio::test]
async fn a_broken_stream_is_told_from_a_wrong_blob() {
    let scratch = Scratch::new();
    let content = random(2 << 20, 8);
    let (name, stream) = (BlobName::of(&content), packed(&content).await);
    for bytes in [0, 5, 1 << 20] {
        let received = scratch
            .store
            .receive_plain(name, &mut Breaks(&stream[..bytes]), false, BYTES_MAX)
            .await;
        assert!(matches!(received, Err(ReceiveError::Stream { .. })));
        let none_left = || scratch.files().is_empty();
        eventually("nothing is left of a broken stream", none_left).await;
    }
}

#[tokio::test]
async fn a_receiver_that_is_dropped_leaves_nothing() {
    let scratch = Scratch::new();
    let content = random(4 << 20, 9);
    let (name, stream) = (BlobName::of(&content), packed(&content).await);
    let (mut here, mut there) = tokio::io::duplex(1 << 16);
    let store: Store = scratch.store.clone();
    let receiver = tokio::spawn(async move {
        store
            .receive_packed(name, &mut there, BYTES_MAX)
            .await
            .map(drop)
    });
    here.write_all(&stream[..3 << 20]).await.unwrap();
    eventually("it is being received", || scratch.files().len() == 1).await;
    receiver.abort();
    assert!(receiver.await.unwrap_err().is_cancelled());
    eventually("nothing is left", || scratch.files().is_empty()).await;
}
