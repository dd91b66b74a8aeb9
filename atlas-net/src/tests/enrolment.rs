//! How nodes without certificates get theirs, and when they do not.

use std::sync::Mutex;

use super::*;
use crate::enrol::{self, EnrolError, Lifetimes};
use crate::identity::{Fingerprint, Secret, Token, Tokens};
use crate::{ConnectError, StreamKind};

/// A manager with its tokens.
pub(super) struct Enrolling {
    pub(super) cs: DomainAuthority,
    pub(super) manager: Endpoint,
    pub(super) tokens: Mutex<Tokens>,
}

impl Enrolling {
    pub(super) fn new() -> Self {
        Self::of(authority("cs.example.edu"))
    }

    pub(super) fn of(cs: DomainAuthority) -> Self {
        let manager = manager(&cs);
        Self {
            cs,
            manager,
            tokens: Mutex::default(),
        }
    }

    fn token(&self, uses: u32) -> Token {
        self.token_from(SystemTime::now(), uses)
    }

    fn token_from(&self, now: SystemTime, uses: u32) -> Token {
        self.token_for(Role::Server, now, uses)
    }

    pub(super) fn token_for(&self, role: Role, now: SystemTime, uses: u32) -> Token {
        let secret = Secret::generate().unwrap();
        let hour = Duration::from_secs(3600);
        self.tokens
            .lock()
            .unwrap()
            .create(now, &secret, role, hour, uses)
            .unwrap();
        Token {
            domain: self.cs.domain().clone(),
            role,
            addresses: vec![address(&self.manager).to_string()],
            authority: self.cs.fingerprint(),
            secret,
        }
    }

    async fn serve(&self) {
        while let Some(arrival) = self.manager.accept().await {
            if let Ok(Arrival::Enrolment(enrolment)) = arrival {
                let _ = enrolment
                    .answer(
                        &self.cs,
                        &self.tokens,
                        &Lifetimes::default(),
                        SystemTime::now(),
                    )
                    .await;
            }
        }
    }

    /// What becomes of it while the manager serves.
    pub(super) async fn serving<T>(&self, joining: impl Future<Output = T>) -> T {
        tokio::select! {
            joined = joining => joined,
            () = self.serve() => panic!("the manager has ended"),
        }
    }

    /// A node tries to join with this token.
    pub(super) async fn join(&self, token: &Token) -> Result<Identity, EnrolError> {
        // As it is handed over.
        let token: Token = token.to_string().parse().unwrap();
        let key = NodeKey::generate().unwrap();
        self.serving(enrol::join(&token, key)).await
    }

    async fn refused(&self, token: &Token) -> String {
        let refused = self.join(token).await.unwrap_err().to_string();
        // And others are let in.
        self.join(&self.token(1)).await.unwrap();
        serves(&self.manager, &self.cs).await;
        refused
    }
}

#[tokio::test]
async fn a_node_with_a_token_gets_an_identity_and_connects() {
    within(async {
        let world = Enrolling::new();
        let token = world.token(2);
        for _ in 0..2 {
            let identity = world.join(&token).await.unwrap();
            assert_eq!(
                (&identity.peer().domain, identity.peer().role),
                (world.cs.domain(), Role::Server)
            );
            let server = bind(identity, &EndpointOptions::default());
            let (_, down) = connect(&server, &world.manager).await;
            assert_eq!(down.peer(), server.identity().peer());
        }
        let refused = world.refused(&token).await;
        assert!(refused.contains("this join token is used up"), "{refused}");
        assert!(
            refused.contains("make a new one at the domain's manager"),
            "{refused}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_node_of_a_sub_domain_joins_with_the_sub_domains_fingerprint() {
    within(async {
        let edu = authority("example.edu");
        let world = Enrolling::of(authority_below(&edu, "cs.example.edu"));
        let identity = world.join(&world.token(1)).await.unwrap();
        assert_eq!(identity.peer().domain, domain("cs.example.edu"));
        assert_eq!(identity.anchors().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_or_expired_token_lets_nobody_in() {
    within(async {
        let world = Enrolling::new();
        let wrong = Token {
            secret: Secret::generate().unwrap(),
            ..world.token(1)
        };
        let refused = world.refused(&wrong).await;
        assert!(
            refused.contains("the manager does not know this join token"),
            "{refused}"
        );
        let long_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
        let expired = world.token_from(long_ago, 1);
        let refused = world.refused(&expired).await;
        assert!(
            refused.contains("this join token has expired: make a new one"),
            "{refused}"
        );
    })
    .await;
}

#[tokio::test]
async fn the_secret_is_told_to_the_right_manager_only() {
    within(async {
        let world = Enrolling::new();
        let pinned = Fingerprint([1; 32]);
        let elsewhere = Token {
            authority: pinned,
            ..world.token(1)
        };
        let refused = world.refused(&elsewhere).await;
        assert!(
            refused.contains("of cs.example.edu is not of the domain that the join token is for"),
            "{refused}"
        );
        assert!(refused.contains(&pinned.to_string()), "{refused}");
        let other = Token {
            domain: domain("bio.example.edu"),
            ..world.token(1)
        };
        let refused = world.refused(&other).await;
        assert!(
            refused.contains("in place of manager of bio.example.edu"),
            "{refused}"
        );
        // A server of the domain has its authority's signature, and is not its manager.
        let server = server(&world.cs);
        let token = Token {
            addresses: vec![address(&server).to_string()],
            ..world.token(1)
        };
        let refused = world.refused(&token).await;
        assert!(
            refused.contains("in place of manager of cs.example.edu"),
            "{refused}"
        );
        // None of them was used.
        let token = world.token(1);
        world.join(&token).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_manager_that_enrols_nobody_says_what_it_speaks() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = bind(identity(&cs, Role::Manager), &EndpointOptions::default());
        let world = Enrolling {
            cs,
            manager,
            tokens: Mutex::default(),
        };
        let token = world.token(1);
        let refused = world.join(&token).await.unwrap_err();
        assert!(
            matches!(refused, EnrolError::Connect(ConnectError::Version { .. })),
            "{refused}"
        );
        let text = refused.to_string();
        assert!(
            text.contains("speaks atlas/1, this node atlas-enrol/1"),
            "{text}"
        );
        serves(&world.manager, &world.cs).await;
    })
    .await;
}

#[tokio::test]
async fn the_next_address_is_tried() {
    within(async {
        let world = Enrolling::new();
        let mut token = world.token(1);
        // The first is no name, and nobody of this domain answers at the second.
        let other = manager(&authority("other.org"));
        token.addresses.insert(0, address(&other).to_string());
        token.addresses.insert(0, "no..host:7".into());
        world.join(&token).await.unwrap();
        token.addresses.truncate(1);
        let refused = world.join(&token).await.unwrap_err().to_string();
        assert!(
            refused.contains("no..host:7 of the join token is not known here"),
            "{refused}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_node_renews_its_certificate_and_goes_on_with_the_new_one() {
    within(async {
        let cs = authority("cs.example.edu");
        let manager = manager(&cs);
        let short = identity_for(&cs, Role::Server, Duration::from_secs(600));
        let server = bind(short, &EndpointOptions::default());
        let (up, down) = connect(&server, &manager).await;
        let answer = async {
            let (kind, stream) = down.accept_stream().await.unwrap();
            assert_eq!(kind, StreamKind::Renew);
            let (lifetimes, now) = (Lifetimes::default(), SystemTime::now());
            enrol::answer_renewal(stream, &down, &cs, &lifetimes, now).await
        };
        let old = server.identity();
        let (renewed, answered) = tokio::join!(enrol::renew(&up, &old), answer);
        answered.unwrap();
        let renewed = renewed.unwrap();
        assert_eq!(renewed.peer(), old.peer());
        assert!(renewed.ends_at() > old.ends_at());
        server.replace_identity(renewed).unwrap();
        let (_, down) = connect(&server, &manager).await;
        assert!(down.ends_at() > old.ends_at());
    })
    .await;
}

#[tokio::test]
async fn a_node_cannot_renew_for_another_key() {
    within(async {
        let cs = authority("cs.example.edu");
        let (manager, server) = (manager(&cs), server(&cs));
        let (up, down) = connect(&server, &manager).await;
        let answer = async {
            let (_, stream) = down.accept_stream().await.unwrap();
            let (lifetimes, now) = (Lifetimes::default(), SystemTime::now());
            enrol::answer_renewal(stream, &down, &cs, &lifetimes, now).await
        };
        let other = identity(&cs, Role::Server);
        let (renewed, answered) = tokio::join!(enrol::renew(&up, &other), answer);
        let refused = renewed.unwrap_err().to_string();
        assert!(
            refused.contains("does not accept the certificate request"),
            "{refused}"
        );
        answered.unwrap_err();
        serves(&manager, &cs).await;
    })
    .await;
}
