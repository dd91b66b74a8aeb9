//! How much a node sends before it has heard that anything arrives.
//!
//! RFC 9002 begins with ten packets and doubles them with each round trip, which is right for ways of which nothing is known. A
//! result of a megabyte takes seven round trips so, and on a machine whose processors are busy each lasts as long as its
//! threads wait for their turns: some 20 ms in all. A way of less than a millisecond does not leave a building, and what is
//! sent there at once is held by the peer's socket: [`Near`] begins anew with more as soon as a round trip has shown that.
//! What is lost is answered as ever, by CUBIC (RFC 9438).

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, CubicConfig};

/// CUBIC, which begins with [`NEAR_WINDOW_BYTES`] in place of ten packets once the way is known to be short.
#[derive(Debug)]
pub(crate) struct NearConfig;

struct Near {
    cubic: Box<dyn Controller>,
    /// Nothing was lost, and nothing is known of the way.
    is_new: bool,
    mtu: u16,
}

impl ControllerFactory for NearConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Near {
            cubic: Arc::new(CubicConfig::default()).build(now, current_mtu),
            is_new: true,
            mtu: current_mtu,
        })
    }
}

impl Controller for Near {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        if self.is_new && rtt.min() <= NEAR {
            self.is_new = false;
            let mut config = CubicConfig::default();
            config.initial_window(NEAR_WINDOW_BYTES);
            self.cubic = Arc::new(config).build(now, self.mtu);
        }
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.is_new = false;
        self.cubic
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            cubic: self.cubic.clone_box(),
            ..*self
        })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A round trip within a building: some tens of metres of cable, a few switches and two kernels.
const NEAR: Duration = Duration::from_millis(1);
/// What ten gigabits a second carry in a fifth of a millisecond.
const NEAR_WINDOW_BYTES: u64 = 256 << 10;
