//! A node's key, and its identity: the key with certificates for it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use atlas_proto::ids::NodeId;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::authority::Issued;
use super::certificate::{CertificateError, Fingerprint, Leaf};
use super::peer::Peer;
use super::store::{self, StoreError};
use crate::verify::{Anchors, VerifyError};

/// A private key, made where it is used. It leaves the process only for the node's own state folder.
#[derive(Clone)]
pub struct NodeKey(Arc<KeyPair>);

/// A node's key, the certificates that say whose it is, and those that the node itself trusts.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    key: NodeKey,
    leaf: Leaf,
    /// The node's own first.
    chain: Vec<CertificateDer<'static>>,
    anchors: Vec<CertificateDer<'static>>,
}

/// Why a key and certificates are no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no certificate.
    #[error("there is no certificate: enrol this node with a join token")]
    Empty,
    /// It cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It is for another key.
    #[error("the certificate is for another key than this node's: enrol this node anew")]
    OtherKey,
    /// It is not signed by those that the node trusts, or no longer valid.
    #[error(
        "this node's own certificate does not hold: enrol it anew with a join token, and see that its clock is right"
    )]
    Verify(#[from] VerifyError),
}

impl NodeKey {
    /// A new key (Ed25519).
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, rcgen::Error> {
        KeyPair::generate_for(&rcgen::PKCS_ED25519).map(|pair| Self(pair.into()))
    }

    /// The key of the identity that [`Identity::save`] has written into a folder, whether or not its certificate holds.
    ///
    /// # Errors
    ///
    /// It is missing, damaged or open to others.
    pub fn load(folder: &Path) -> Result<Self, StoreError> {
        let text = store::read_secret(folder, KEY_FILE)?;
        Self::from_pem(&text).map_err(|error| store::damaged(folder, KEY_FILE, error))
    }

    /// What the owner of this key is called as a node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.fingerprint().node()
    }

    /// What an authority is to sign: it holds the public key and proves that the private one is known.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn request(&self) -> Result<Vec<u8>, rcgen::Error> {
        let request = CertificateParams::default().serialize_request(self.pair())?;
        Ok(request.der().to_vec())
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_key(&self.0.subject_public_key_info())
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn to_der(&self) -> PrivatePkcs8KeyDer<'static> {
        self.0.serialize_der().into()
    }

    pub(crate) fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    pub(crate) fn from_pem(text: &str) -> Result<Self, rcgen::Error> {
        KeyPair::from_pem(text).map(|pair| Self(pair.into()))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.fingerprint())
    }
}

impl Identity {
    /// The key with what an authority has issued for it.
    ///
    /// # Errors
    ///
    /// The certificate is for another key, or does not hold now.
    pub fn new(key: NodeKey, issued: Issued, now: SystemTime) -> Result<Self, IdentityError> {
        let certificates =
            |ders: Vec<Vec<u8>>| ders.into_iter().map(CertificateDer::from).collect();
        let identity = Self::unverified(
            key,
            certificates(issued.chain),
            certificates(issued.anchors),
        )?;
        identity.verify(now)?;
        Ok(identity)
    }

    /// Who this node is to others.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.0.leaf.peer
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &NodeKey {
        &self.0.key
    }

    /// Its certificate is valid until then.
    #[must_use]
    pub fn ends_at(&self) -> SystemTime {
        self.0.leaf.ends
    }

    /// When to ask for the next certificate: two thirds of this one's life are over.
    #[must_use]
    pub fn renew_at(&self) -> SystemTime {
        self.0.leaf.renew_at()
    }

    /// Writes it into a folder. The key never changes; when only the certificates are new, a crash between the two
    /// files leaves certificates that fit each other, since new anchors include the domain's own.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        store::create_folder(folder)?;
        store::write(folder, KEY_FILE, &self.0.key.to_pem())?;
        store::write_certificates(folder, ANCHORS_FILE, &self.0.anchors)?;
        store::write_certificates(folder, CHAIN_FILE, &self.0.chain)
    }

    /// Reads what [`save`](Self::save) has written.
    ///
    /// # Errors
    ///
    /// A file is missing, damaged or open to others, or the certificate is no longer valid.
    pub fn load(folder: &Path, now: SystemTime) -> Result<Self, StoreError> {
        let key = NodeKey::load(folder)?;
        let anchors = store::read_certificates(folder, ANCHORS_FILE)?;
        let chain = store::read_certificates(folder, CHAIN_FILE)?;
        let identity = Self::unverified(key, chain, anchors);
        let identity = identity.and_then(|identity| identity.verify(now).map(|()| identity));
        identity.map_err(|error| match error {
            IdentityError::Verify(source) => StoreError::Invalid {
                path: folder.join(CHAIN_FILE),
                source: Box::new(source),
            },
            IdentityError::Empty | IdentityError::Certificate(_) | IdentityError::OtherKey => {
                store::damaged(folder, CHAIN_FILE, error)
            }
        })
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    pub(crate) fn anchors(&self) -> &[CertificateDer<'static>] {
        &self.0.anchors
    }

    fn unverified(
        key: NodeKey,
        chain: Vec<CertificateDer<'static>>,
        anchors: Vec<CertificateDer<'static>>,
    ) -> Result<Self, IdentityError> {
        let leaf = Leaf::read(chain.first().ok_or(IdentityError::Empty)?)?;
        if leaf.peer.node != key.node() {
            return Err(IdentityError::OtherKey);
        }
        Ok(Self(Arc::new(Parts {
            key,
            leaf,
            chain,
            anchors,
        })))
    }

    fn verify(&self, now: SystemTime) -> Result<(), IdentityError> {
        Anchors::new(self.anchors())?.verify_chain(self.chain(), now)?;
        Ok(())
    }
}

const KEY_FILE: &str = "node.key";
const CHAIN_FILE: &str = "node.pem";
const ANCHORS_FILE: &str = "anchors.pem";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::identity::{DomainAuthority, LEAF_LIFETIME, Role};

    fn identity() -> Identity {
        let now = SystemTime::now();
        let authority = DomainAuthority::init("cs.example.edu".parse().unwrap(), now).unwrap();
        let key = NodeKey::generate().unwrap();
        let issued = authority.issue(&key.request().unwrap(), Role::Server, now, LEAF_LIFETIME);
        Identity::new(key, issued.unwrap(), now).unwrap()
    }

    #[test]
    fn an_identity_is_saved_and_loaded_and_closed_to_others() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        let identity = identity();
        // Twice: what is there is replaced.
        identity.save(&folder).unwrap();
        identity.save(&folder).unwrap();
        let loaded = Identity::load(&folder, SystemTime::now()).unwrap();
        assert_eq!(loaded.peer(), identity.peer());
        assert_eq!(loaded.chain(), identity.chain());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder), 0o700);
            assert_eq!(mode(&folder.join(KEY_FILE)), 0o600);
            fs::set_permissions(folder.join(KEY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
            let exposed = Identity::load(&folder, SystemTime::now())
                .unwrap_err()
                .to_string();
            assert!(
                exposed.contains("node.key can be read by others (mode 644)"),
                "{exposed}"
            );
            assert!(exposed.contains("chmod 600"), "{exposed}");
        }
    }

    #[test]
    fn what_cannot_be_loaded_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let load = |now| Identity::load(folder.path(), now).unwrap_err().to_string();
        let now = SystemTime::now();
        assert!(load(now).contains("node.key is not there: enrol this node with a join token"));
        identity().save(folder.path()).unwrap();
        let late = load(now + LEAF_LIFETIME + Duration::from_secs(9));
        assert!(
            late.contains("node.pem does not hold: enrol this node anew"),
            "{late}"
        );
        store::write_certificates(folder.path(), CHAIN_FILE, identity().chain()).unwrap();
        assert!(load(now).contains("node.pem is damaged (the certificate is for another key"));
        fs::write(folder.path().join(CHAIN_FILE), "nothing").unwrap();
        assert!(load(now).contains("node.pem is damaged (it holds no certificates"));
        fs::write(folder.path().join(KEY_FILE), "nothing").unwrap();
        assert!(load(now).contains("node.key is damaged"));
    }

    #[test]
    fn regression_a_clock_that_is_set_back_by_an_hour_leaves_a_node_who_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let identity = identity();
        identity.save(folder.path()).unwrap();
        let before = SystemTime::now() - Duration::from_secs(3600);
        let loaded = Identity::load(folder.path(), before).unwrap();
        assert_eq!(loaded.peer(), identity.peer());
        assert!(loaded.renew_at() > SystemTime::now(), "it is as new");
    }

    #[test]
    fn certificates_for_another_key_are_no_identity() {
        let now = SystemTime::now();
        let authority = DomainAuthority::init("cs.example.edu".parse().unwrap(), now).unwrap();
        let request = NodeKey::generate().unwrap().request().unwrap();
        let issued = authority
            .issue(&request, Role::Server, now, LEAF_LIFETIME)
            .unwrap();
        let other = Identity::new(NodeKey::generate().unwrap(), issued, now).unwrap_err();
        assert!(
            other
                .to_string()
                .contains("is for another key than this node's")
        );
    }
}
