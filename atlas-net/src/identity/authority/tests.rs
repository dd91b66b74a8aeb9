//! What an authority signs, and what is believed of it.

use super::*;
use crate::identity::Identity;

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn below(above: &DomainAuthority, sub: &str) -> DomainAuthority {
    let now = SystemTime::now();
    let mut authority = DomainAuthority::init(domain(sub), now).unwrap();
    let fingerprint = authority.fingerprint();
    let request = authority.request().unwrap();
    let chain = above
        .sign_sub_domain(&request, &domain(sub), now, SUB_DOMAIN_LIFETIME)
        .unwrap();
    authority.adopt(chain, now).unwrap();
    assert_eq!(authority.fingerprint(), fingerprint);
    authority
}

fn issue(authority: &DomainAuthority, role: Role) -> (NodeKey, Issued) {
    let key = NodeKey::generate().unwrap();
    let request = key.request().unwrap();
    let issued = authority.issue(&request, role, SystemTime::now(), LEAF_LIFETIME);
    (key, issued.unwrap())
}

/// Whether those who trust `top` believe what was issued.
fn holds(top: &DomainAuthority, issued: Issued, at: SystemTime) -> Result<(), String> {
    let anchors = Anchors::new(&top.chain).unwrap();
    let chain: Vec<_> = issued.chain.into_iter().map(CertificateDer::from).collect();
    anchors
        .verify_chain(&chain, at)
        .map_err(|error| error.to_string())
}

#[test]
fn a_node_is_named_by_key_domain_and_role() {
    let authority = DomainAuthority::init(domain("example.edu"), SystemTime::now()).unwrap();
    for role in [Role::Manager, Role::Server, Role::Client, Role::Admin] {
        let (key, issued) = issue(&authority, role);
        let node = key.node();
        let identity = Identity::new(key, issued, SystemTime::now()).unwrap();
        let expected = Peer {
            node,
            domain: domain("example.edu"),
            role,
        };
        assert_eq!(*identity.peer(), expected);
        let left = identity
            .renew_at()
            .duration_since(SystemTime::now())
            .unwrap();
        assert!(
            left > LEAF_LIFETIME * 6 / 10 && left < LEAF_LIFETIME * 7 / 10,
            "{left:?}"
        );
    }
}

#[test]
fn authorities_stand_below_each_other_as_deep_as_verifiers_follow() {
    let root = DomainAuthority::init(domain("d"), SystemTime::now()).unwrap();
    let (mut deepest, mut name) = (root, "d".to_owned());
    let mut anchors = Vec::new();
    for _ in 1..AUTHORITIES_MAX {
        name = format!("d.{name}");
        let next = below(&deepest, &name);
        anchors.push(std::mem::replace(&mut deepest, next));
    }
    let (_, issued) = issue(&deepest, Role::Server);
    assert_eq!(issued.anchors.len(), 2);
    for above in &anchors {
        holds(above, issued.clone(), SystemTime::now()).unwrap();
    }
    let request = deepest.request().unwrap();
    let refused = deepest.sign_sub_domain(
        &request,
        &domain(&format!("e.{name}")),
        SystemTime::now(),
        SUB_DOMAIN_LIFETIME,
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("is 7 authorities deep")
    );
}

#[test]
fn an_authority_that_lies_about_its_domain_is_not_believed() {
    let root = DomainAuthority::init(domain("example.edu"), SystemTime::now()).unwrap();
    let cs = below(&root, "cs.example.edu");
    for claimed in [
        "example.edu",
        "bio.example.edu",
        "xcs.example.edu",
        "other.org",
    ] {
        let (key, chain) = (cs.key.clone(), cs.chain.clone());
        let liar = DomainAuthority {
            domain: domain(claimed),
            key,
            chain,
        };
        let (_, issued) = issue(&liar, Role::Manager);
        let refused = holds(&root, issued.clone(), SystemTime::now()).unwrap_err();
        assert!(
            refused.contains("manager") && refused.contains(claimed),
            "{refused}"
        );
        // Nor by those who trust the authority itself.
        holds(&cs, issued, SystemTime::now()).unwrap_err();
        // Nor if it makes an authority of that name first.
        let mut second =
            DomainAuthority::init(domain(&format!("x.{claimed}")), SystemTime::now()).unwrap();
        let request = second.request().unwrap();
        let chain = liar
            .sign_sub_domain(
                &request,
                &second.domain,
                SystemTime::now(),
                SUB_DOMAIN_LIFETIME,
            )
            .unwrap();
        let refused = second
            .adopt(chain.clone(), SystemTime::now())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("are not for the authority of x."),
            "{refused}"
        );
        second.chain = chain.into_iter().map(CertificateDer::from).collect();
        let (_, issued) = issue(&second, Role::Server);
        holds(&root, issued, SystemTime::now()).unwrap_err();
    }
}

#[test]
fn a_node_cannot_sign_for_others() {
    let root = DomainAuthority::init(domain("example.edu"), SystemTime::now()).unwrap();
    let (key, issued) = issue(&root, Role::Manager);
    let chain: Vec<_> = issued.chain.into_iter().map(CertificateDer::from).collect();
    let imposter = DomainAuthority {
        domain: root.domain.clone(),
        key,
        chain,
    };
    let (_, issued) = issue(&imposter, Role::Server);
    holds(&root, issued, SystemTime::now()).unwrap_err();
}

#[test]
fn what_should_not_be_signed_is_not() {
    let now = SystemTime::now();
    let root = DomainAuthority::init(domain("cs.example.edu"), now).unwrap();
    let request = root.request().unwrap();
    for sub in [
        "cs.example.edu",
        "example.edu",
        "bio.example.edu",
        "xcs.example.edu",
    ] {
        let refused = root
            .sign_sub_domain(&request, &domain(sub), now, SUB_DOMAIN_LIFETIME)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(&format!("{sub} is not below cs.example.edu")),
            "{refused}"
        );
    }
    let mut broken = request.clone();
    *broken.last_mut().unwrap() ^= 1;
    for request in [broken, Vec::new(), vec![0x30; 99]] {
        let refused = root
            .issue(&request, Role::Server, now, LEAF_LIFETIME)
            .unwrap_err();
        assert!(
            refused.to_string().contains("make a new one at the node"),
            "{refused}"
        );
    }
    let long = domain(&format!("{0}.{0}.{0}.{0}", "a".repeat(60)));
    let refused = DomainAuthority::init(long, now).unwrap_err().to_string();
    assert!(refused.contains("shorten it to 221 bytes"), "{refused}");
}

#[test]
fn nothing_holds_before_or_after_its_time_or_after_its_authority() {
    let now = SystemTime::now();
    let root = DomainAuthority::init(domain("example.edu"), now).unwrap();
    let (_, issued) = issue(&root, Role::Server);
    holds(
        &root,
        issued.clone(),
        now + LEAF_LIFETIME - Duration::from_secs(2),
    )
    .unwrap();
    let late = holds(
        &root,
        issued.clone(),
        now + LEAF_LIFETIME + Duration::from_secs(2),
    );
    assert!(late.unwrap_err().contains("see that both clocks are right"));
    holds(&root, issued, now - CLOCK_SKEW - Duration::from_secs(2)).unwrap_err();
    let request = NodeKey::generate().unwrap().request().unwrap();
    let longest = root
        .issue(&request, Role::Server, now, Duration::MAX)
        .unwrap();
    holds(&root, longest.clone(), now + LEAF_LIFETIME * 365).unwrap();
    holds(&root, longest, now + ROOT_LIFETIME + LEAF_LIFETIME).unwrap_err();
    let refused = root.issue(&request, Role::Server, now + ROOT_LIFETIME, LEAF_LIFETIME);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("is no longer valid")
    );
}

#[test]
fn certificates_for_others_are_not_adopted() {
    let now = SystemTime::now();
    let root = DomainAuthority::init(domain("example.edu"), now).unwrap();
    let mut cs = DomainAuthority::init(domain("cs.example.edu"), now).unwrap();
    let bio = DomainAuthority::init(domain("bio.example.edu"), now).unwrap();
    let sign = |request: &DomainAuthority, sub: &str| {
        root.sign_sub_domain(
            &request.request().unwrap(),
            &domain(sub),
            now,
            SUB_DOMAIN_LIFETIME,
        )
        .unwrap()
    };
    for (chain, what) in [
        (Vec::new(), "there are none"),
        (vec![vec![1, 2, 3]], "cannot be read"),
        (sign(&bio, "cs.example.edu"), "for another key"),
        (sign(&cs, "bio.example.edu"), "they are for"),
    ] {
        let refused = cs.adopt(chain, now).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
    }
    assert_eq!(cs.chain.len(), 1);
    // What it issued before holds on for those who know it, and new ones also further up.
    let (_, before) = issue(&cs, Role::Server);
    cs.adopt(sign(&cs, "cs.example.edu"), now).unwrap();
    holds(&cs, before, now).unwrap();
    let (_, after) = issue(&cs, Role::Server);
    holds(&root, after, now).unwrap();
}

#[test]
fn an_authority_is_saved_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let root = DomainAuthority::init(domain("example.edu"), SystemTime::now()).unwrap();
    let missing = DomainAuthority::load(folder.path())
        .unwrap_err()
        .to_string();
    assert!(missing.contains("authority.key is not there"), "{missing}");
    root.save(folder.path()).unwrap();
    let loaded = DomainAuthority::load(folder.path()).unwrap();
    assert_eq!(
        (loaded.domain(), loaded.fingerprint()),
        (root.domain(), root.fingerprint())
    );
    let (_, issued) = issue(&loaded, Role::Server);
    holds(&root, issued, SystemTime::now()).unwrap();
    let other = DomainAuthority::init(domain("example.edu"), SystemTime::now()).unwrap();
    store::write_certificates(folder.path(), CHAIN_FILE, &other.chain).unwrap();
    let damaged = DomainAuthority::load(folder.path())
        .unwrap_err()
        .to_string();
    assert!(
        damaged.contains("authority.pem is damaged (it is for another key)"),
        "{damaged}"
    );
}

#[test]
fn the_domains_other_manager_gets_the_same_authority() {
    let top = DomainAuthority::init(domain("example.edu"), SystemTime::now()).unwrap();
    let authority = below(&top, "cs.example.edu");
    let secret = authority.to_secret();
    let other = DomainAuthority::from_secret(&secret, authority.domain()).unwrap();
    assert_eq!(other.fingerprint(), authority.fingerprint());
    let (_, issued) = issue(&other, Role::Server);
    assert_eq!(holds(&top, issued, SystemTime::now()), Ok(()));
    // It is for this domain, whole, and shown to nobody.
    DomainAuthority::from_secret(&secret, &domain("bio.example.edu")).unwrap_err();
    let mut mixed = secret.clone();
    mixed.chain = top.to_secret().chain;
    DomainAuthority::from_secret(&mixed, top.domain()).unwrap_err();
    assert_eq!(format!("{secret:?}"), "SecretAuthority(..)");
}

#[test]
fn a_standbys_certificate_is_a_managers() {
    let authority = DomainAuthority::init(domain("example.edu"), SystemTime::now()).unwrap();
    let (key, issued) = issue(&authority, Role::Standby);
    let identity = Identity::new(key, issued, SystemTime::now()).unwrap();
    assert_eq!(identity.peer().role, Role::Manager);
}
