//! What peers may do that they should not: each is told so, and the endpoint goes on serving.

use std::sync::Arc;

use atlas_proto::limits::PACKET_BYTES_MAX;

use super::*;
use crate::alpn::{Protocol, VERSION};
use crate::credentials::Credentials;
use crate::endpoint::{ConnectError, Dialler};
use crate::verify::Accepts;
use crate::{CloseCode, ConnectionLost};

/// A connection of quinn's, past the handshake, to an endpoint whose authority is known; with a certificate or without.
async fn raw(
    acceptor: &Endpoint,
    authority: &DomainAuthority,
    credentials: Option<Identity>,
    protocol: Protocol,
) -> (quinn::Endpoint, Result<quinn::Connection, ConnectError>) {
    let endpoint = quinn::Endpoint::client(here()).unwrap();
    let credentials = credentials.map(|identity| Arc::new(Credentials::new(identity).unwrap()));
    let accepts = Accepts::Pinned(authority.fingerprint(), expected(acceptor));
    let dialler = Dialler {
        quinn: &endpoint,
        protocol,
        version: VERSION,
        patience: None,
    };
    let dialled = dialler
        .dial(address(acceptor), credentials.as_ref(), accepts)
        .await;
    (endpoint, dialled)
}

/// What a node of the domain hears that sends these bytes on its control stream, and then what `end` does.
async fn sends(bytes: &[u8], end: impl FnOnce(quinn::SendStream)) -> String {
    let cs = authority("cs.example.edu");
    let manager = manager(&cs);
    let server = identity(&cs, Role::Server);
    let (_endpoint, dialled) = raw(&manager, &cs, Some(server), Protocol::Atlas).await;
    let quinn = dialled.unwrap();
    let mut control = quinn.open_uni().await.unwrap();
    control.write_all(&[1]).await.unwrap();
    let accepted = accept_node(&manager).await;
    let _ = control.write_all(bytes).await;
    end(control);
    let ours = accepted.recv_packet().await.unwrap_err();
    assert!(matches!(ours, ConnectionLost::ByUs { .. }), "{ours}");
    let theirs = ConnectionLost::from(quinn.closed().await).to_string();
    serves(&manager, &cs).await;
    theirs
}

#[tokio::test]
async fn a_frame_that_is_no_packet_is_garbage() {
    within(async {
        let heard = sends(&[0, 0, 0, 3, 1, 0xff, 0xff], std::mem::forget).await;
        assert!(heard.contains("(garbage): a frame is no packet"), "{heard}");
        assert!(heard.contains("run the same version of Atlas"), "{heard}");
        let heard = sends(&[0, 0, 0, 0], std::mem::forget).await;
        assert!(
            heard.contains("(garbage): a frame is no packet (the packet is empty"),
            "{heard}"
        );
        let heard = sends(&[0, 0, 0, 2, 9, 0], std::mem::forget).await;
        assert!(
            heard.contains("of protocol version 9, this node speaks version 1"),
            "{heard}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_oversized_frame_is_refused_before_it_comes() {
    within(async {
        let length = u32::try_from(PACKET_BYTES_MAX + 1).unwrap().to_be_bytes();
        let heard = sends(&length, std::mem::forget).await;
        assert!(
            heard.contains("(oversized frame): a frame of 4194305 bytes"),
            "{heard}"
        );
        assert!(heard.contains("at most 4194304 are allowed"), "{heard}");
        let heard = sends(&[0xff; 4], std::mem::forget).await;
        assert!(heard.contains("a frame of 4294967295 bytes"), "{heard}");
    })
    .await;
}

#[tokio::test]
async fn a_control_stream_that_breaks_off_is_garbage() {
    within(async {
        let heard = sends(&[0, 0, 1, 0, 1], |mut control| control.finish().unwrap()).await;
        assert!(
            heard.contains("(garbage): the control stream ends within a frame"),
            "{heard}"
        );
        let heard = sends(&[0, 0], |mut control| control.finish().unwrap()).await;
        assert!(heard.contains("ends within a frame"), "{heard}");
        let heard = sends(&[0, 0], |mut control| control.reset(7_u32.into()).unwrap()).await;
        assert!(
            heard.contains("(garbage): the control stream was broken off"),
            "{heard}"
        );
    })
    .await;
}

#[tokio::test]
async fn without_a_certificate_a_node_gets_nothing() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        let (_endpoint, dialled) = raw(&manager, &cs, None, Protocol::Atlas).await;
        let quinn = dialled.unwrap();
        // It says all that a node would say.
        if let Ok(mut control) = quinn.open_uni().await {
            let _ = control.write_all(&[1, 0, 0, 0, 1, 1]).await;
        }
        let (uni, bi) = tokio::join!(quinn.accept_uni(), quinn.accept_bi());
        assert!(uni.is_err() && bi.is_err(), "something was sent");
        let heard = ConnectionLost::from(quinn.closed().await).to_string();
        assert!(
            heard.contains("(no certificate): no certificate was shown: enrol the node"),
            "{heard}"
        );
        let told = turned_away(&manager).await;
        assert!(told.contains("no certificate was shown"), "{told}");
        serves(&manager, &cs).await;
    })
    .await;
}

#[tokio::test]
async fn a_foreign_domains_node_is_refused_by_name() {
    within(async {
        let edu = authority("example.edu");
        let (cs, bio) = (
            authority_below(&edu, "cs.example.edu"),
            authority_below(&edu, "bio.example.edu"),
        );
        let manager = manager(&cs);
        for foreign in [
            &bio,
            &edu,
            &authority("other.org"),
            &authority("cs.example.edu"),
        ] {
            let server = identity(foreign, Role::Server);
            let name = server.peer().to_string();
            let (_endpoint, dialled) = raw(&manager, &cs, Some(server), Protocol::Atlas).await;
            let heard = match dialled {
                Ok(quinn) => ConnectionLost::from(quinn.closed().await).to_string(),
                Err(error) => error.to_string(),
            };
            assert!(
                heard.contains(&name) && heard.contains("foreign domain"),
                "{heard}"
            );
            let told = turned_away(&manager).await;
            assert!(
                told.contains(&name) && told.contains("foreign domain"),
                "{told}"
            );
        }
        serves(&manager, &cs).await;
    })
    .await;
}

#[tokio::test]
async fn a_dialler_refuses_foreign_and_unexpected_nodes_by_name() {
    within(async {
        let (cs, other) = (authority("cs.example.edu"), authority("other.org"));
        let (acceptor, dialler) = (manager(&other), server(&cs));
        let connect = async |at: &Endpoint, expected: &Expected| {
            dialler
                .connect(address(at), expected)
                .await
                .unwrap_err()
                .to_string()
        };
        let manager_of_cs = Expected::manager_of(domain("cs.example.edu"));
        let refused = connect(&acceptor, &manager_of_cs).await;
        assert!(
            refused.contains("is refused: the certificate of manager"),
            "{refused}"
        );
        assert!(
            refused.contains("of other.org does not hold here"),
            "{refused}"
        );
        turned_away(&acceptor).await;
        serves(&acceptor, &other).await;

        let sibling = server(&cs);
        let refused = connect(&sibling, &manager_of_cs).await;
        assert!(
            refused.contains("in place of manager of cs.example.edu"),
            "{refused}"
        );
        serves(&sibling, &cs).await;
        let itself = connect(&dialler, &expected(&dialler)).await;
        assert!(itself.contains("is this node itself"), "{itself}");
    })
    .await;
}

#[tokio::test]
async fn another_version_is_named_on_both_sides() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        let newer = EndpointOptions {
            version: 2,
            ..EndpointOptions::default()
        };
        let newer = bind(identity(&cs, Role::Server), &newer);
        let error = newer
            .connect(address(&manager), &expected(&manager))
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::Version { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("speaks atlas/1 atlas-enrol/1, this node atlas/2"),
            "{text}"
        );
        assert!(text.contains("upgrade the older one"), "{text}");
        let told = turned_away(&manager).await;
        assert!(
            told.contains("it speaks atlas/2, this node atlas/1"),
            "{told}"
        );
        serves(&manager, &cs).await;
        let text = refused(&server(&cs), &newer).await;
        assert!(text.contains("speaks atlas/2, this node atlas/1"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_enrolment_is_turned_away() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        for bytes in [&b"hello"[..], &[0; 70_000]] {
            let (_endpoint, dialled) = raw(&manager, &cs, None, Protocol::Enrol).await;
            let quinn = dialled.unwrap();
            let (mut send, _recv) = quinn.open_bi().await.unwrap();
            let _ = send.write_all(bytes).await;
            let _ = send.finish();
            let heard = ConnectionLost::from(quinn.closed().await).to_string();
            assert!(
                heard.contains("(refused): it sent something that is no request to enrol"),
                "{heard}"
            );
            let told = turned_away(&manager).await;
            assert!(told.contains("no request to enrol"), "{told}");
        }
        serves(&manager, &cs).await;
    })
    .await;
}

#[tokio::test]
async fn silent_peers_and_stray_bytes_hold_up_nobody() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        let mut silent = Vec::new();
        for protocol in [Protocol::Atlas, Protocol::Enrol] {
            let server = (protocol == Protocol::Atlas).then(|| identity(&cs, Role::Server));
            let (endpoint, dialled) = raw(&manager, &cs, server, protocol).await;
            silent.push((endpoint, dialled.unwrap()));
        }
        let stray = std::net::UdpSocket::bind(here()).unwrap();
        for length in [0, 1, 20, 1200] {
            stray
                .send_to(&vec![0xc5; length], address(&manager))
                .unwrap();
        }
        serves(&manager, &cs).await;
        for (_, quinn) in silent {
            let heard = ConnectionLost::from(quinn.closed().await);
            let slow = crate::close::PeerCode(CloseCode::TooSlow as u64);
            assert!(
                matches!(&heard, ConnectionLost::ByPeer { code, .. } if *code == slow),
                "{heard}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn strangers_can_have_little_kept_for_them() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        let (_endpoint, dialled) = raw(&manager, &cs, None, Protocol::Enrol).await;
        let quinn = dialled.unwrap();
        let (mut first, _recv) = quinn.open_bi().await.unwrap();
        let second = tokio::time::timeout(Duration::from_secs(1), quinn.open_bi()).await;
        assert!(second.is_err(), "a second stream was opened");
        // More than is read is not taken.
        let flood = first.write_all(&[0; 1 << 20]).await;
        flood.unwrap_err();
        serves(&manager, &cs).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_answers_nobody() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        for role in [Role::Client, Role::Admin] {
            let client = bind(identity(&cs, role), &EndpointOptions::default());
            let refused = refused(&server(&cs), &client).await;
            let named = format!("the certificate of {role}");
            assert!(refused.contains(&named), "{refused}");
            let (_, down) = connect(&client, &manager).await;
            assert_eq!(down.peer().role, role);
        }
    })
    .await;
}

#[tokio::test]
async fn streams_with_bad_headers_are_broken_off_alone() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        let server = identity(&cs, Role::Server);
        let (_endpoint, dialled) = raw(&manager, &cs, Some(server), Protocol::Atlas).await;
        let quinn = dialled.unwrap();
        let mut control = quinn.open_uni().await.unwrap();
        control.write_all(&[1]).await.unwrap();
        let accepted = accept_node(&manager).await;
        for header in [&[1, 99][..], &[2, 0, 0], &[0]] {
            let (mut send, mut recv) = quinn.open_bi().await.unwrap();
            send.write_all(header).await.unwrap();
            recv.read_to_end(9).await.unwrap_err();
        }
        let (mut send, _recv) = quinn.open_bi().await.unwrap();
        send.write_all(&[2, 2, 7]).await.unwrap();
        let (kind, _) = accepted.accept_stream().await.unwrap();
        assert_eq!(kind, crate::StreamKind::Request { topic: 7 });
    })
    .await;
}

#[tokio::test]
async fn where_nobody_or_something_else_answers_says_so() {
    within(async {
        let cs = authority("cs.example.edu");
        let dialler = server(&cs);
        let other = Arc::new(Credentials::new(identity(&cs, Role::Server)).unwrap());
        let tls = crate::credentials::server_config(&other, vec![b"h3".to_vec()]).unwrap();
        let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        let web = quinn::Endpoint::server(config, here()).unwrap();
        let at = web.local_addr().unwrap();
        let expected = Expected::manager_of(domain("cs.example.edu"));
        let (refused, _) = tokio::join!(dialler.connect(at, &expected), async {
            web.accept().await.unwrap().await
        });
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("speaks QUIC, but not Atlas"), "{refused}");

        let silent = std::net::UdpSocket::bind(here()).unwrap();
        let at = silent.local_addr().unwrap();
        let refused = dialler
            .connect(at, &expected)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(&format!("no answer from {at}")),
            "{refused}"
        );
        assert!(
            refused.contains(&format!("let UDP port {} through", at.port())),
            "{refused}"
        );
        serves(&dialler, &cs).await;
    })
    .await;
}
