//! An endpoint: one UDP port, from which a node dials and at which it answers, all with one identity.
//!
//! Handshakes run apart from each other, each bounded in time and all in number, so that a slow or hostile peer holds
//! up nobody. What goes wrong with one of them is told by [`Endpoint::accept`] and ends there.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig,
    VarInt,
};
use quinn_proto::RandomConnectionIdGenerator;
use socket2::SockRef;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::alpn::{self, Protocol};
use crate::close::{CloseCode, Closing, ConnectionLost};
use crate::congestion::NearConfig;
use crate::connection::Connection;
use crate::credentials::{self, Credentials};
use crate::crypto;
use crate::enrol::Enrolment;
use crate::identity::{Expected, Identity, Role};
use crate::places::Places;
use crate::setup::{self, Shared};
use crate::verify::{Accepts, Dialled, VerifyError};

/// A node's place in the network.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) quinn: quinn::Endpoint,
    pub(crate) shared: Arc<Shared>,
    patience: Duration,
    arrivals: Mutex<mpsc::Receiver<Result<Arrival, AcceptError>>>,
    _tasks: JoinSet<()>,
}

/// What an endpoint does beside the rest.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// Nodes without a certificate may ask for one: for managers.
    pub enrolment: bool,
    /// Connections that are accepted, at a time. A node that has one may come again, in place of its oldest.
    pub connections_max: usize,
    /// Of these, those of one node: when it connects once more, its oldest is closed.
    pub connections_per_node_max: usize,
    /// The same of a user, who has one for each command that runs.
    pub connections_per_user_max: usize,
    /// A manager that says nothing for so long is lost to this node: for who could go to another.
    pub patience: Duration,
    /// What is spoken; tests speak other versions.
    pub(crate) version: u32,
}

/// Somebody has come.
#[derive(Debug)]
pub enum Arrival {
    /// A node that belongs here, with its connection.
    Node(Connection),
    /// A node without a certificate asks for one.
    Enrolment(Enrolment),
}

/// Why an endpoint cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The port is taken.
    #[error("UDP port {} of {} is already in use: stop the program that uses it (`ss -ulpn` tells which), or choose another port", address.port(), address.ip())]
    InUse {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The address is not this machine's, the port is reserved, or the system has no sockets left.
    #[error("cannot use UDP port {} of {}: choose an address of this machine, and a port that this user may use", address.port(), address.ip())]
    Socket {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The identity is of no use to TLS.
    #[error(transparent)]
    Identity(#[from] VerifyError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up with this identity: enrol this node anew")]
    Tls(#[from] rustls::Error),
}

/// Why nobody could be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers.
    #[error("no answer from {address}: see that Atlas runs there, and that firewalls let UDP port {} through", address.port())]
    NoAnswer {
        /// Where.
        address: SocketAddr,
    },
    /// Who answers is not accepted here.
    #[error("whoever answers at {address} is refused: {source}")]
    Refuses {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: VerifyError,
    },
    /// This node is not accepted there, or the connection broke.
    #[error("{address} does not take this connection: {source}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// What the peer says.
        source: ConnectionLost,
    },
    /// The two speak different versions, or the peer does not enrol nodes.
    #[error(
        "{address} speaks {theirs}, this node {ours}: upgrade the older one of the two, or name the address of a manager if this node is to enrol"
    )]
    Version {
        /// Where.
        address: SocketAddr,
        /// What this node speaks.
        ours: String,
        /// What the peer speaks.
        theirs: String,
    },
    /// It is not Atlas that answers.
    #[error(
        "what answers at {address} speaks QUIC, but not Atlas: name the address of an Atlas node"
    )]
    NotAtlas {
        /// Where.
        address: SocketAddr,
    },
    /// The address cannot be dialled.
    #[error(
        "cannot dial {address} from here ({what}): see that the address is right, and of the same kind (IPv4 or IPv6) as this node's own"
    )]
    Address {
        /// Where.
        address: SocketAddr,
        /// What is wrong.
        what: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up with this identity: enrol this node anew")]
    Tls(#[from] rustls::Error),
}

/// Somebody came and was turned away; the endpoint goes on.
#[derive(Debug, thiserror::Error)]
#[error("a connection from {remote} is turned away: {refusal}")]
pub struct AcceptError {
    /// From where.
    pub remote: SocketAddr,
    /// Why.
    pub refusal: Refusal,
}

/// Why somebody is turned away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It wants to speak as a node, but does not say who it is.
    #[error("no certificate was shown: enrol the node with a join token")]
    NoCertificate,
    /// Its certificate does not hold, or it does not belong here.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It speaks another version.
    #[error("it speaks {theirs}, this node {ours}: upgrade the older one of the two")]
    Version {
        /// What this node speaks.
        ours: String,
        /// What the other speaks.
        theirs: String,
    },
    /// What it sent is no enrolment.
    #[error(
        "it sent something that is no request to enrol: run the same version of Atlas on both sides"
    )]
    Request,
    /// There are enough.
    #[error(
        "this node takes {connections_max} connections and has as many: come back later, or have it take more"
    )]
    Full {
        /// What it takes.
        connections_max: usize,
    },
    /// It did not say in time what it wants.
    #[error("it did not say within {} seconds what it wants", SETUP_TIMEOUT.as_secs())]
    TooSlow,
    /// The connection ended, or the certificates were refused while shaking hands.
    #[error(transparent)]
    Lost(ConnectionLost),
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self {
            enrolment: false,
            connections_max: CONNECTIONS_MAX,
            connections_per_node_max: CONNECTIONS_PER_NODE_MAX,
            connections_per_user_max: CONNECTIONS_PER_USER_MAX,
            patience: Duration::from_millis(IDLE_TIMEOUT_MS.into()),
            version: alpn::VERSION,
        }
    }
}

impl EndpointOptions {
    /// For a manager: nodes may enrol.
    #[must_use]
    pub fn manager() -> Self {
        Self {
            enrolment: true,
            ..Self::default()
        }
    }
}

impl Endpoint {
    /// Takes a UDP port; port zero lets the system choose one. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The port cannot be had, or the identity cannot be used.
    pub fn bind(
        address: SocketAddr,
        identity: Identity,
        options: &EndpointOptions,
    ) -> Result<Self, BindError> {
        let credentials = Arc::new(Credentials::new(identity.clone())?);
        let EndpointOptions {
            enrolment,
            connections_max,
            connections_per_node_max,
            connections_per_user_max,
            patience,
            version,
        } = *options;
        let shared = Arc::new(Shared {
            credentials,
            enrolment,
            version,
            places: Places::new(connections_max),
            connections_max,
            connections_per_node_max,
            connections_per_user_max,
        });
        let protocols = alpn::offers(shared.protocols(), version);
        let tls = credentials::server_config(&shared.credentials, protocols)?;
        let tls = QuicServerConfig::try_from(tls).map_err(|error| no_cipher(&error))?;
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config.transport_config(Arc::new(transport()));
        let quinn = socket(address, endpoint_config(&identity), Some(config))?;
        let (arrived, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept_all(quinn.clone(), shared.clone(), arrived));
        Ok(Self {
            quinn,
            shared,
            patience,
            arrivals: Mutex::new(arrivals),
            _tasks: tasks,
        })
    }

    /// The address with the port that was taken.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    /// The identity that new connections are made with.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.credentials.state().identity.clone()
    }

    /// New connections are made with this identity; those that are there stay as they are.
    ///
    /// # Errors
    ///
    /// The identity cannot be used; the old one stays.
    pub fn replace_identity(&self, identity: Identity) -> Result<(), VerifyError> {
        self.shared.credentials.replace(identity)
    }

    /// Connects to the node that is expected at an address.
    ///
    /// # Errors
    ///
    /// Nobody answers, somebody else does, or one of the two refuses the other.
    pub async fn connect(
        &self,
        address: SocketAddr,
        expected: &Expected,
    ) -> Result<Connection, ConnectError> {
        let accepts = Accepts::Expected(self.shared.credentials.clone(), expected.clone());
        let version = self.shared.version;
        let credentials = &self.shared.credentials;
        let connect = async {
            // A manager is kept for as long as it is there. Other nodes dial each other anew when they have something to say.
            let keep = expected.role == Some(Role::Manager);
            let dialler = Dialler {
                quinn: &self.quinn,
                protocol: Protocol::Atlas,
                version,
                patience: keep.then_some(self.patience),
            };
            let quinn = dialler.dial(address, Some(credentials), accepts).await?;
            let connection = setup::dial(quinn, credentials).await;
            connection.map_err(|source| ConnectError::Refused { address, source })
        };
        let connected = timeout(SETUP_TIMEOUT, connect).await;
        connected.unwrap_or(Err(ConnectError::NoAnswer { address }))
    }

    /// The next who has come, or why somebody was turned away; none once the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Result<Arrival, AcceptError>> {
        self.arrivals.lock().await.recv().await
    }

    /// Closes all connections and waits until the peers have been told.
    pub async fn close(&self, reason: &str) {
        self.quinn
            .close(VarInt::from_u32(CloseCode::Done as u32), reason.as_bytes());
        self.quinn.wait_idle().await;
    }
}

/// Dials with one protocol.
pub(crate) struct Dialler<'a> {
    pub(crate) quinn: &'a quinn::Endpoint,
    pub(crate) protocol: Protocol,
    pub(crate) version: u32,
    /// The connection is kept up, and is lost when nothing is heard for so long; otherwise it ends when nothing is said for a
    /// while.
    pub(crate) patience: Option<Duration>,
}

impl Dialler<'_> {
    /// A connection that speaks the protocol, with a peer that the verifier has accepted.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        credentials: Option<&Arc<Credentials>>,
        accepts: Accepts,
    ) -> Result<quinn::Connection, ConnectError> {
        let verifier = Arc::new(Dialled::new(accepts));
        let (offers, ours) = setup::offers(self.protocol, self.version);
        let tls = credentials::client_config(credentials, &verifier, offers)?;
        let tls = QuicClientConfig::try_from(tls).map_err(|error| no_cipher(&error))?;
        let mut config = ClientConfig::new(Arc::new(tls));
        let mut transport = transport();
        if let Some(patience) = self.patience {
            transport.keep_alive_interval(Some(patience / KEEP_ALIVES));
            let idle = IdleTimeout::try_from(patience);
            transport.max_idle_timeout(Some(
                idle.unwrap_or(VarInt::from_u32(IDLE_TIMEOUT_MS).into()),
            ));
        }
        config.transport_config(Arc::new(transport));
        let connecting = self.quinn.connect_with(config, address, UNUSED_NAME);
        let connecting = connecting.map_err(|error| ConnectError::Address {
            address,
            what: error.to_string(),
        })?;
        let connected = connecting.await.map_err(|error| match verifier.refusal() {
            Some(source) => ConnectError::Refuses { address, source },
            None => handshake_error(address, error),
        })?;
        if Protocol::of(&connected, self.version) == Some(self.protocol) {
            return Ok(connected);
        }
        let theirs = setup::ask_version(&connected, &ours).await;
        let theirs = theirs.map_err(|source| ConnectError::Refused { address, source })?;
        Err(ConnectError::Version {
            address,
            ours,
            theirs,
        })
    }
}

/// A port of the system's choice, for dialling only.
pub(crate) fn dialling_only(address: SocketAddr) -> Result<quinn::Endpoint, BindError> {
    let any: SocketAddr = if address.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    socket(any, EndpointConfig::default(), None)
}

/// A node that was started again tells those who still speak to its former life that they are to connect anew, in place of
/// letting them wait: by the stateless resets of RFC 9000, section 10.3, whose key is that of the former life.
fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(crypto::reset_key(identity.key())));
    // Any packet of a connection that is not known may be of the former life.
    config.cid_generator(|| Box::new(RandomConnectionIdGenerator::default()));
    config
}

fn socket(
    address: SocketAddr,
    endpoint: EndpointConfig,
    server: Option<ServerConfig>,
) -> Result<quinn::Endpoint, BindError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::AddrInUse {
            BindError::InUse { address }
        } else {
            BindError::Socket { address, source }
        }
    };
    let socket = UdpSocket::bind(address).map_err(failed)?;
    widen(&socket);
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(endpoint, server, socket, runtime).map_err(failed)
}

/// Lets the system hold what comes while this node's thread waits for its turn: by itself Linux holds some hundred packets, and
/// what is lost is sent again only after a while.
fn widen(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    // The system gives what it allows (on Linux `net.core.rmem_max`); with less, large results arrive later.
    let widened = socket
        .set_recv_buffer_size(SOCKET_BYTES)
        .and_then(|()| socket.set_send_buffer_size(SOCKET_BYTES));
    if let Err(error) = widened {
        tracing::debug!(%error, "the buffers of a socket stay as they are");
    }
}

fn handshake_error(address: SocketAddr, error: quinn::ConnectionError) -> ConnectError {
    if error == quinn::ConnectionError::TimedOut {
        return ConnectError::NoAnswer { address };
    }
    if let quinn::ConnectionError::ConnectionClosed(close) = &error
        && close.error_code == quinn::TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL)
    {
        return ConnectError::NotAtlas { address };
    }
    ConnectError::Refused {
        address,
        source: error.into(),
    }
}

async fn accept_all(
    quinn: quinn::Endpoint,
    shared: Arc<Shared>,
    arrived: mpsc::Sender<Result<Arrival, AcceptError>>,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut handshakes = JoinSet::new();
    while let Some(incoming) = quinn.accept().await {
        while handshakes.try_join_next().is_some() {}
        let Ok(permit) = room.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        // Under load only those get on who can be reached at the address that they give.
        if room.available_permits() < HANDSHAKES_MAX / 2 && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let (shared, arrived) = (shared.clone(), arrived.clone());
        handshakes.spawn(async move {
            let remote = incoming.remote_address();
            let arrival = accept(incoming, &shared).await;
            let arrival = arrival.map_err(|refusal| AcceptError { remote, refusal });
            if let Err(error) = &arrival {
                tracing::info!(%error);
            }
            let _ = arrived.send(arrival).await;
            drop(permit);
        });
    }
}

async fn accept(incoming: quinn::Incoming, shared: &Shared) -> Result<Arrival, Refusal> {
    let handshake = async {
        let connecting = incoming.accept()?;
        connecting.await
    };
    let connected = timeout(SETUP_TIMEOUT, handshake)
        .await
        .map_err(|_| Refusal::TooSlow)?;
    let quinn = connected.map_err(|error| Refusal::Lost(error.into()))?;
    let accepted = timeout(SETUP_TIMEOUT, setup::accept(quinn.clone(), shared)).await;
    accepted.unwrap_or_else(|_| {
        Closing::new(quinn).close(CloseCode::TooSlow, &Refusal::TooSlow.to_string());
        Err(Refusal::TooSlow)
    })
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))));
    transport.initial_rtt(INITIAL_RTT);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(UNACKNOWLEDGED_MAX);
    transport.ack_frequency_config(Some(acks));
    transport.max_concurrent_uni_streams(CONTROL_STREAMS);
    // Until the peer is accepted: what an enrolment takes.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(1));
    transport.receive_window(STRANGER_BYTES_MAX);
    transport.datagram_receive_buffer_size(None);
    transport.congestion_controller_factory(Arc::new(NearConfig));
    transport
}

fn no_cipher(error: &quinn::crypto::rustls::NoInitialCipherSuite) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// What a peer may say nothing for. With a manager the protocol's own messages come every few seconds, so that it is lost, not
/// quiet; between servers it is time to hang up.
const IDLE_TIMEOUT_MS: u32 = 15_000;
/// So many times something is said in the time for which nothing may be heard: three of them may be lost. For connections on
/// which the protocol says nothing.
const KEEP_ALIVES: u32 = 4;
/// Until a round trip is measured. A first packet that nobody heard is sent again after three of them, so that nodes which are
/// started together do not wait a second for each other, as they would with what RFC 9002 takes for the whole Internet; over
/// longer ways some packets of a handshake are sent twice.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// A peer acknowledges with its next packet, or in 25 ms, or after so many: not every other packet by one of its own, which
/// costs both sides as much as the packet before it, and comes just when the answer to that is waited for.
const UNACKNOWLEDGED_MAX: VarInt = VarInt::from_u32(10);
/// One each way, for packets.
const CONTROL_STREAMS: VarInt = VarInt::from_u32(1);
/// So much is kept of what somebody sends who is not accepted yet: some control frames, or an enrolment.
const STRANGER_BYTES_MAX: VarInt = VarInt::from_u32(256 << 10);
/// Four windows of a short way ([`congestion`](crate::congestion)), half of which is what the kernel itself takes for each packet. What
/// is held here at a time is read at a time, into memory that stays the node's.
const SOCKET_BYTES: usize = 1 << 20;
/// A handshake takes two round trips; a lost packet costs a second or so.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at a time: some for each of many nodes that come back at once, and come again if refused.
const HANDSHAKES_MAX: usize = 512;
/// Those that have come and wait to be accepted; more wait in their handshakes.
const ARRIVALS_MAX: usize = 64;
/// A manager's children, and as many others as come to ask for something.
const CONNECTIONS_MAX: usize = atlas_proto::limits::CHILDREN_MAX + 1024;
/// One in use, and some whose loss is not noticed yet.
const CONNECTIONS_PER_NODE_MAX: usize = 4;
/// A script that submits or follows as many jobs at once; a few who do leave room for all children.
const CONNECTIONS_PER_USER_MAX: usize = 128;
/// Certificates are not chosen or verified by it, and it is not sent.
const UNUSED_NAME: &str = "atlas.invalid";
/// RFC 7301, section 3.2.
const NO_APPLICATION_PROTOCOL: u8 = 120;
