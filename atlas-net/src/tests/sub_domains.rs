//! How the manager of a sub-domain comes below the one above, and stays there.

use super::enrolment::Enrolling;
use super::*;
use crate::enrol::{self, Answer, EnrolError, EnrolRefusal, EnrolRequest, Lifetimes, RenewRequest};
use crate::identity::{Issued, Relation, SUB_DOMAIN_LIFETIME, Secret, Token};
use crate::{CloseCode, StreamKind};

const LAB: &str = "lab.cs.example.edu";

impl Enrolling {
    fn managers_token(&self, uses: u32) -> Token {
        self.token_for(Role::Manager, SystemTime::now(), uses)
    }

    async fn join_sub(&self, token: &Token, sub: &str) -> Result<DomainAuthority, EnrolError> {
        let token: Token = token.to_string().parse().unwrap();
        self.serving(enrol::join_sub_domain(&token, domain(sub)))
            .await
    }

    async fn refused_sub(&self, token: &Token, sub: &str) -> String {
        self.join_sub(token, sub).await.unwrap_err().to_string()
    }
}

fn own_manager(authority: &DomainAuthority) -> Endpoint {
    let (key, now) = (NodeKey::generate().unwrap(), SystemTime::now());
    let identity = authority.issue_own(key, now, LEAF_LIFETIME).unwrap();
    bind(identity, &EndpointOptions::manager())
}

/// What the manager above answers to a manager with this identity, who asks for this authority's certificate.
async fn asks_again(
    above: &Enrolling,
    identity: Identity,
    authority: &DomainAuthority,
) -> Result<Vec<Vec<u8>>, EnrolRefusal> {
    let below = bind(identity, &EndpointOptions::default());
    let (up, down) = connect(&below, &above.manager).await;
    let answer = async {
        let (_, stream) = down.accept_stream().await.unwrap();
        let (lifetimes, now) = (Lifetimes::default(), SystemTime::now());
        enrol::answer_renewal(stream, &down, &above.cs, &lifetimes, now).await
    };
    let ask = async {
        let mut stream = up.open_stream(StreamKind::Renew).await.unwrap();
        let request = RenewRequest::Authority(authority.request().unwrap());
        stream.send_message(&request).await.unwrap();
        stream.recv_message(enrol::ENROL_BYTES_MAX).await.unwrap()
    };
    let (answered, answer) = tokio::join!(answer, ask);
    match answer {
        Answer::Signed(chain) => {
            answered.unwrap();
            Ok(chain)
        }
        Answer::Granted(_) => panic!("a node's certificate"),
        Answer::Refused(refusal) => {
            answered.unwrap_err();
            Err(refusal)
        }
    }
}

#[tokio::test]
async fn the_manager_of_a_sub_domain_enrols_and_connects() {
    within(async {
        let world = Enrolling::new();
        let lab = world.join_sub(&world.managers_token(1), LAB).await.unwrap();
        assert_eq!(*lab.domain(), domain(LAB));
        let left = lab.renew_at().unwrap().duration_since(SystemTime::now());
        let left = left.unwrap();
        assert!(left > SUB_DOMAIN_LIFETIME / 2 && left < SUB_DOMAIN_LIFETIME);
        let below = own_manager(&lab);
        let (up, down) = connect(&below, &world.manager).await;
        assert_eq!(
            (up.relation(), down.relation()),
            (Relation::Parent, Relation::Child)
        );
        // It enrols its own nodes, and sub-domains below.
        let lab = Enrolling::of(lab);
        let token = lab.token_for(Role::Server, SystemTime::now(), 1);
        let node = lab.join(&token).await.unwrap();
        assert_eq!(node.peer().domain, domain(LAB));
        let deeper = lab.managers_token(1);
        let deeper = lab.join_sub(&deeper, "x.lab.cs.example.edu").await.unwrap();
        let (up, _) = connect(&own_manager(&deeper), &world.manager).await;
        assert_eq!(up.relation(), Relation::Parent);
    })
    .await;
}

#[tokio::test]
async fn a_manager_takes_servers_of_domains_below_as_guests_and_no_other_strangers() {
    within(async {
        let top = authority("example.edu");
        let cs = authority_below(&top, "cs.example.edu");
        let bio = authority_below(&top, "bio.example.edu");
        let lab = authority_below(&cs, LAB);
        let (at_top, at_cs) = (manager(&top), manager(&cs));
        let guest = server(&lab);
        for host in [&at_cs, &at_top] {
            let (up, down) = connect(&guest, host).await;
            assert_eq!(
                (up.relation(), down.relation()),
                (Relation::Host, Relation::Guest)
            );
            up.send_packet(&packet(7)).await.unwrap();
            assert_eq!(down.recv_packet().await.unwrap(), packet(7));
        }
        let foreign = "is of a foreign domain";
        // The sibling domain's, the one above's, and who is no server.
        let bad = [server(&bio), server(&top)];
        let users = [Role::Client, Role::Admin];
        let users = users.map(|role| bind(identity(&lab, role), &EndpointOptions::default()));
        for stranger in bad.iter().chain(&users) {
            let refusal = refused(stranger, &at_cs).await;
            assert!(refusal.contains(foreign), "{refusal}");
        }
        // No guest is met by the host's servers but by way of the host.
        let of_cs = server(&cs);
        assert!(refused(&guest, &of_cs).await.contains(foreign));
        assert!(refused(&of_cs, &guest).await.contains(foreign));
        // A domain that says it is below, and that nobody above has signed.
        let false_lab = server(&authority(LAB));
        refused(&false_lab, &at_cs).await;
        assert!(turned_away(&at_cs).await.contains("foreign domain"));
    })
    .await;
}

#[tokio::test]
async fn an_authority_that_is_there_is_put_below() {
    within(async {
        let world = Enrolling::new();
        let mut lab = authority(LAB);
        assert_eq!(lab.renew_at(), None);
        let before = (lab.fingerprint(), identity(&lab, Role::Server));
        let token = world.managers_token(1);
        let put = enrol::put_below(&token, &mut lab);
        world.serving(put).await.unwrap();
        assert_eq!(lab.fingerprint(), before.0);
        // Nodes that it had before go on.
        let manager = own_manager(&lab);
        let old = bind(before.1, &EndpointOptions::default());
        let (up, _) = connect(&old, &manager).await;
        assert_eq!(up.relation(), Relation::SameDomain);
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_says_why_and_uses_up_no_token() {
    within(async {
        let world = Enrolling::new();
        let token = world.managers_token(1);
        for sub in [
            "cs.example.edu",
            "example.edu",
            "bio.example.edu",
            "xcs.example.edu",
        ] {
            let refused = world.refused_sub(&token, sub).await;
            let said = format!("{sub} is not below cs.example.edu");
            assert!(refused.contains(&said), "{refused}");
            assert!(
                refused.contains("such as `lab.cs.example.edu`"),
                "{refused}"
            );
        }
        // A token says for what it is to the manager, whatever its own text says.
        let claimed = Token {
            role: Role::Server,
            ..token.clone()
        };
        let refused = world.join(&claimed).await.unwrap_err().to_string();
        assert!(
            refused.contains("for managers of sub-domains of cs.example.edu"),
            "{refused}"
        );
        let servers = world.token_for(Role::Server, SystemTime::now(), 1);
        let claimed = Token {
            role: Role::Manager,
            ..servers.clone()
        };
        let refused = world.refused_sub(&claimed, LAB).await;
        assert!(
            refused.contains("is for a server and enrols no sub-domain"),
            "{refused}"
        );
        world.join(&servers).await.unwrap();
        world.join_sub(&token, LAB).await.unwrap();
        let refused = world.refused_sub(&token, LAB).await;
        assert!(refused.contains("this join token is used up"), "{refused}");
        let unknown = Token {
            secret: Secret::generate().unwrap(),
            ..token
        };
        let refused = world.refused_sub(&unknown, LAB).await;
        assert!(
            refused.contains("does not know this join token"),
            "{refused}"
        );
        let long_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
        let expired = world.token_for(Role::Manager, long_ago, 1);
        let refused = world.refused_sub(&expired, LAB).await;
        assert!(refused.contains("has expired"), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn no_sub_domain_is_enrolled_deeper_than_verifiers_follow() {
    within(async {
        let (mut name, mut deepest) = ("d".to_owned(), authority("d"));
        for _ in 0..6 {
            name = format!("d.{name}");
            deepest = authority_below(&deepest, &name);
        }
        let world = Enrolling::of(deepest);
        let token = world.managers_token(1);
        let refused = world.refused_sub(&token, &format!("e.{name}")).await;
        assert!(
            refused.contains(&format!("no further domain can stand below {name}")),
            "{refused}"
        );
        assert!(
            refused.contains(&format!("enrol e.{name} at one further up")),
            "{refused}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_authority_is_signed_again_for_its_manager() {
    within(async {
        let world = Enrolling::new();
        let now = SystemTime::now();
        let mut lab = authority(LAB);
        let request = lab.request().unwrap();
        let short = Duration::from_secs(3600);
        let chain = world.cs.sign_sub_domain(&request, lab.domain(), now, short);
        lab.adopt(chain.unwrap(), now).unwrap();
        let below = own_manager(&lab);
        let (up, down) = connect(&below, &world.manager).await;
        let answer = async {
            let (_, stream) = down.accept_stream().await.unwrap();
            let lifetimes = Lifetimes::default();
            enrol::answer_renewal(stream, &down, &world.cs, &lifetimes, now).await
        };
        let (renewed, answered) = tokio::join!(enrol::renew_authority(&up, &lab), answer);
        answered.unwrap();
        let renewed = renewed.unwrap();
        assert_eq!(renewed.fingerprint(), lab.fingerprint());
        assert!(renewed.renew_at() > lab.renew_at());
        let (up, _) = connect(&own_manager(&renewed), &world.manager).await;
        assert_eq!(up.relation(), Relation::Parent);
        let topmost = enrol::renew_authority(&up, &world.cs).await.unwrap_err();
        let topmost = topmost.to_string();
        assert!(topmost.contains("stands below no other"), "{topmost}");
    })
    .await;
}

#[tokio::test]
async fn a_managers_key_alone_gets_no_authority() {
    within(async {
        let world = Enrolling::new();
        let lab = authority_below(&world.cs, LAB);
        let (key, now) = (NodeKey::generate().unwrap(), SystemTime::now());
        let stolen = lab.issue_own(key.clone(), now, LEAF_LIFETIME).unwrap();
        asks_again(&world, stolen.clone(), &lab).await.unwrap();
        let evil = authority(LAB);
        let not_signed = EnrolRefusal::NotSigned {
            sub: domain(LAB),
            domain: domain("cs.example.edu"),
        };
        let refused = asks_again(&world, stolen.clone(), &evil).await;
        assert_eq!(refused.unwrap_err(), not_signed);
        // Nor if the other authority's certificate is shown among those that are needed.
        let ders = |certificates: &[rustls::pki_types::CertificateDer<'_>]| {
            let ders = certificates.iter().map(|der| der.to_vec());
            ders.collect::<Vec<_>>()
        };
        let mut chain = ders(stolen.chain());
        chain.splice(1..1, ders(&evil.anchors()));
        let anchors = ders(stolen.anchors());
        let shown = Identity::new(key, Issued { chain, anchors }, now).unwrap();
        let refused = asks_again(&world, shown, &evil).await;
        assert_eq!(refused.unwrap_err(), not_signed);
        // A server of the domain is no manager of one below.
        let server = identity(&world.cs, Role::Server);
        let refused = asks_again(&world, server, &world.cs).await;
        assert_eq!(refused.unwrap_err(), EnrolRefusal::Request);
        // Nor does one further up sign what one between has signed.
        let deeper = authority_below(&lab, "x.lab.cs.example.edu");
        let key = NodeKey::generate().unwrap();
        let manager = deeper.issue_own(key, now, LEAF_LIFETIME).unwrap();
        let refused = asks_again(&world, manager, &deeper).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("ask the manager that enrolled it"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn only_what_the_tokens_authority_has_signed_is_adopted() {
    let (cs, evil, now) = (
        authority("cs.example.edu"),
        authority("cs.example.edu"),
        SystemTime::now(),
    );
    let mut lab = authority(LAB);
    let request = lab.request().unwrap();
    let sign = |above: &DomainAuthority| {
        let signed = above.sign_sub_domain(&request, &domain(LAB), now, LEAF_LIFETIME);
        signed.unwrap()
    };
    let pinned = Some(cs.fingerprint());
    // Signed by another one, with the right one's certificate shown or not.
    let mut mixed = sign(&evil);
    mixed.insert(1, sign(&cs).swap_remove(1));
    for chain in [sign(&evil), mixed] {
        lab.adopt_signed_by(pinned, chain, now).unwrap_err();
    }
    assert_eq!(lab.renew_at(), None);
    lab.adopt_signed_by(pinned, sign(&cs), now).unwrap();
    assert!(lab.renew_at().is_some());
}

#[tokio::test]
async fn an_enrolment_says_which_sub_domain_it_is_for() {
    within(async {
        let world = Enrolling::new();
        let token = world.managers_token(1);
        let join = enrol::join_sub_domain(&token, domain(LAB));
        let refuse = async {
            match world.manager.accept().await.unwrap().unwrap() {
                Arrival::Enrolment(enrolment) => {
                    assert_eq!(enrolment.sub_domain(), Some(&domain(LAB)));
                }
                Arrival::Node(connection) => connection.close(CloseCode::Done, "unexpected"),
            }
        };
        let (joined, ()) = tokio::join!(join, refuse);
        let error = joined.unwrap_err();
        assert!(matches!(error, EnrolError::Stream(_)), "{error}");
    })
    .await;
}

#[test]
fn a_request_for_what_is_no_domain_is_no_request() {
    let decodes = |name: &[u8]| {
        let secret = Secret::generate().unwrap();
        let mut bytes = postcard::to_stdvec(&secret).unwrap();
        bytes.extend([1, u8::try_from(name.len()).unwrap()]);
        bytes.extend(name);
        bytes.push(0);
        postcard::from_bytes::<EnrolRequest>(&bytes).is_ok()
    };
    assert!(decodes(b"lab.cs.example.edu"));
    for name in [&b""[..], b"a..b", b"_atlas.cs.example.edu", b"\xff", b"a b"] {
        assert!(!decodes(name), "{name:?}");
    }
}
