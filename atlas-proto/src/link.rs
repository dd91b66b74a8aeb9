//! One session with one neighbour: sequenced messages arrive once and in order, as long as it lasts.
//!
//! The driver's connection may break and be made again in the middle of a session; what was under way then
//! is lost. So each sequenced message is kept until the other side has acknowledged it, and sent again when
//! that takes too long (RFC 6298's estimate of the round trip, with doubling). What arrives is delivered
//! in order; a second copy is dropped. Acknowledgements ride on whatever is sent next; only when nothing is, a
//! [`Message::KeepAlive`] carries them.
//!
//! A link never gives up: membership decides when a neighbour is gone, and then the session ends with all
//! that was agreed in it. What a link must never know: what its messages mean.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::ids::Epoch;
use crate::limits::{Bound, EARLY_BYTES_MAX, UNACKED_BYTES_MAX, UNACKED_MAX, WINDOW};
use crate::message::{Message, Packet};
use crate::path::Path;
use crate::time::Time;

/// The state of a session at one side.
#[derive(Debug)]
pub(crate) struct Link {
    mine: Epoch,
    theirs: Epoch,
    last_seq: u32,
    /// Sent or about to be, oldest first; the first `in_flight` are under way.
    unacked: VecDeque<Unacked>,
    in_flight: usize,
    /// How many may be under way: few after a silence, more as acknowledgements come (TCP's slow start).
    window: usize,
    /// All up to here were delivered.
    received: u32,
    /// Arrived before an earlier one.
    early: BTreeMap<u32, Message>,
    /// The payload in `unacked` and in `early`.
    unacked_bytes: usize,
    early_bytes: usize,
    ack_due: Option<Time>,
    resend_at: Option<Time>,
    round_trip: RoundTrip,
    last_heard: Time,
    last_sent: Time,
}

/// When a link has something to do, and when there was last something on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkTimes {
    /// When [`Link::handle_timeout`] is to be called, if the link waits for something.
    pub(crate) due: Option<Time>,
    pub(crate) last_heard: Time,
    pub(crate) last_sent: Time,
}

#[derive(Debug)]
struct Unacked {
    seq: u32,
    message: Message,
    sent_at: Time,
    tries: u32,
}

/// The peer lets messages pile up beyond [`UNACKED_MAX`] or [`UNACKED_BYTES_MAX`], or the session has used
/// up its numbers: it must end.
#[derive(Debug)]
pub(crate) struct Overflow;

impl Link {
    pub(crate) fn new(mine: Epoch, theirs: Epoch, path: Path, now: Time) -> Self {
        Self {
            mine,
            theirs,
            last_seq: 0,
            unacked: VecDeque::new(),
            in_flight: 0,
            window: WINDOW,
            received: 0,
            early: BTreeMap::new(),
            unacked_bytes: 0,
            early_bytes: 0,
            ack_due: None,
            resend_at: None,
            round_trip: RoundTrip::assumed(path),
            last_heard: now,
            last_sent: now,
        }
    }

    pub(crate) fn mine(&self) -> Epoch {
        self.mine
    }

    pub(crate) fn theirs(&self) -> Epoch {
        self.theirs
    }

    /// All that was sent has arrived.
    pub(crate) fn is_flushed(&self) -> bool {
        self.unacked.is_empty()
    }

    /// The number of the last message that was taken to be sent.
    pub(crate) fn sent(&self) -> u32 {
        self.last_seq
    }

    /// All up to this number has arrived.
    pub(crate) fn arrived(&self) -> u32 {
        let first = self.unacked.front();
        first.map_or(self.last_seq, |first| first.seq - 1)
    }

    /// The last sequenced message that was delivered.
    pub(crate) fn received(&self) -> u32 {
        self.received
    }

    /// The payload of what has not arrived yet, as far as is known.
    pub(crate) fn unacked_bytes(&self) -> usize {
        self.unacked_bytes
    }

    pub(crate) fn unacknowledged(&self) -> impl Iterator<Item = (u32, &Message)> {
        self.unacked
            .iter()
            .map(|unacked| (unacked.seq, &unacked.message))
    }

    /// Tells the link what the driver has measured.
    pub(crate) fn set_path(&mut self, path: Path) {
        self.round_trip.floor = RoundTrip::floor_of(path);
    }

    /// Sends `message`: at once, or when the window allows.
    pub(crate) fn send(
        &mut self,
        now: Time,
        message: Message,
        out: &mut Vec<Packet>,
    ) -> Result<(), Overflow> {
        if !message.is_sequenced() {
            out.push(self.packet(now, 0, message));
            return Ok(());
        }
        let bytes = self.unacked_bytes + message.payload_bytes();
        let full = self.unacked.len() >= UNACKED_MAX || bytes > UNACKED_BYTES_MAX;
        if full || self.last_seq == u32::MAX {
            return Err(Overflow);
        }
        self.last_seq += 1;
        self.unacked_bytes = bytes;
        self.unacked.push_back(Unacked {
            seq: self.last_seq,
            message,
            sent_at: now,
            tries: 0,
        });
        self.fill_window(now, out);
        Ok(())
    }

    /// Takes a packet of this session in; what can be delivered is appended to `delivered`. Gives whether it is dropped because
    /// its message has come before.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        packet: Packet,
        delivered: &mut Vec<Message>,
        out: &mut Vec<Packet>,
    ) -> bool {
        // Only a peer that is broken or hostile lets a message be lost that must arrive, or numbers another.
        if packet.message.is_sequenced() != (packet.seq > 0) {
            return false;
        }
        self.last_heard = now;
        self.acknowledge(now, packet.ack, out);
        if packet.seq == 0 {
            delivered.push(packet.message);
            return false;
        }
        self.ack_due.get_or_insert(now + ACK_DELAY);
        if packet.seq <= self.received || self.early.contains_key(&packet.seq) {
            return true;
        }
        let ahead = (packet.seq - self.received) as usize;
        let bytes = packet.message.payload_bytes();
        let full = ahead > 1 && self.early_bytes + bytes > EARLY_BYTES_MAX;
        if full || ahead > WINDOW {
            return false;
        }
        if ahead > 1 {
            self.early_bytes += bytes;
            self.early.insert(packet.seq, packet.message);
            return false;
        }
        self.deliver(packet.seq, packet.message, delivered);
        false
    }

    /// The next message has come, and those that wait for it are next.
    fn deliver(&mut self, seq: u32, message: Message, delivered: &mut Vec<Message>) {
        self.received = seq;
        delivered.push(message);
        while let Some(next) = self.received.checked_add(1)
            && let Some(message) = self.early.remove(&next)
        {
            self.received = next;
            self.early_bytes -= message.payload_bytes();
            delivered.push(message);
        }
    }

    /// What the peer makes this side hold.
    pub(crate) fn bounds(&self) -> [Bound; 4] {
        [
            Bound::new("unacknowledged", self.unacked.len(), UNACKED_MAX),
            Bound::new(
                "bytes unacknowledged",
                self.unacked_bytes,
                UNACKED_BYTES_MAX,
            ),
            Bound::new("early", self.early.len(), WINDOW),
            Bound::new("bytes early", self.early_bytes, EARLY_BYTES_MAX),
        ]
    }

    /// Sends what is due: acknowledgements, and again what was not acknowledged.
    pub(crate) fn handle_timeout(&mut self, now: Time, out: &mut Vec<Packet>) {
        if self.resend_at.is_some_and(|at| at <= now) {
            self.round_trip.back_off();
            self.resend_at = None;
            self.in_flight = 0;
            self.window = WINDOW_AFTER_SILENCE;
            self.fill_window(now, out);
        }
        if self.ack_due.is_some_and(|at| at <= now) {
            out.push(self.packet(now, 0, Message::KeepAlive));
        }
    }

    pub(crate) fn times(&self) -> LinkTimes {
        LinkTimes {
            due: self.poll_timeout(),
            last_heard: self.last_heard,
            last_sent: self.last_sent,
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        [self.resend_at, self.ack_due].into_iter().flatten().min()
    }

    fn acknowledge(&mut self, now: Time, ack: u32, out: &mut Vec<Packet>) {
        let before = self.unacked.len();
        let mut sample = None;
        while self
            .unacked
            .front()
            .is_some_and(|first| first.tries > 0 && first.seq <= ack)
        {
            let first = self.unacked.pop_front().expect("it was just seen");
            self.in_flight = self.in_flight.saturating_sub(1);
            self.unacked_bytes -= first.message.payload_bytes();
            // Karn's rule: of one sent twice it is not known which copy was acknowledged, and those after it
            // have waited for it.
            let clean = first.tries == 1 && sample != Some(None);
            sample = Some(clean.then_some(first.sent_at));
        }
        if let Some(Some(sent_at)) = sample {
            self.round_trip.learn(now.since(sent_at));
        }
        let acknowledged = before - self.unacked.len();
        if acknowledged > 0 {
            self.round_trip.doublings = 0;
            self.window = (self.window + acknowledged).min(WINDOW);
            self.resend_at = (self.in_flight > 0).then(|| now + self.round_trip.patience());
            self.fill_window(now, out);
        }
    }

    fn fill_window(&mut self, now: Time, out: &mut Vec<Packet>) {
        while self.in_flight < self.unacked.len().min(self.window) {
            let next = &mut self.unacked[self.in_flight];
            next.sent_at = now;
            next.tries += 1;
            let (seq, message) = (next.seq, next.message.clone());
            self.in_flight += 1;
            out.push(self.packet(now, seq, message));
        }
        if self.in_flight > 0 && self.resend_at.is_none() {
            self.resend_at = Some(now + self.round_trip.patience());
        }
    }

    fn packet(&mut self, now: Time, seq: u32, message: Message) -> Packet {
        self.last_sent = now;
        self.ack_due = None;
        Packet {
            from: self.mine,
            to: self.theirs,
            seq,
            ack: self.received,
            message,
        }
    }
}

/// RFC 6298's estimate of how long an acknowledgement takes.
#[derive(Debug)]
struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    floor: Duration,
    doublings: u32,
}

impl RoundTrip {
    fn assumed(path: Path) -> Self {
        Self {
            smoothed: None,
            variation: Duration::ZERO,
            floor: Self::floor_of(path),
            doublings: 0,
        }
    }

    fn floor_of(path: Path) -> Duration {
        path.round_trip() * 2 + ACK_DELAY * 3 / 2
    }

    fn learn(&mut self, sample: Duration) {
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.variation = sample / 2;
            return;
        };
        self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
        self.smoothed = Some((smoothed * 7 + sample) / 8);
    }

    fn back_off(&mut self) {
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
    }

    fn patience(&self) -> Duration {
        let learned = self
            .smoothed
            .map_or(Duration::ZERO, |smoothed| smoothed + self.variation * 4);
        learned.max(self.floor) * (1 << self.doublings)
    }
}

/// An acknowledgement waits this long for something to ride on.
const ACK_DELAY: Duration = Duration::from_millis(200);
/// After a silence, the first few unacknowledged are tried: they show whether the way is open.
const WINDOW_AFTER_SILENCE: usize = 8;
/// A resend waits at most 16 times as long as the first: the way may open at any time.
const DOUBLINGS_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaseId;
    use crate::limits::CLOSURE_BYTES_MAX;
    use crate::rng::Rng;

    fn link() -> Link {
        Link::new(Epoch(1), Epoch(2), Path::ASSUMED, Time::ZERO)
    }

    fn numbered(n: u64) -> Message {
        Message::AbortLeases {
            leases: vec![LeaseId(n)],
        }
    }

    fn is_content(message: &Message) -> bool {
        *message != Message::KeepAlive
    }

    #[test]
    fn a_lost_message_is_sent_again_until_acknowledged() {
        let (mut a, mut b) = (link(), link());
        let mut wire = Vec::new();
        a.send(Time::ZERO, numbered(1), &mut wire).unwrap();
        wire.clear();
        let due = a.poll_timeout().expect("it waits for an acknowledgement");
        a.handle_timeout(due, &mut wire);
        assert_eq!(wire.len(), 1);
        let mut delivered = Vec::new();
        let mut back = Vec::new();
        b.receive(due, wire.pop().unwrap(), &mut delivered, &mut back);
        assert_eq!(delivered, [numbered(1)]);
        let ack = b.poll_timeout().expect("it owes an acknowledgement");
        b.handle_timeout(ack, &mut back);
        a.receive(ack, back.pop().unwrap(), &mut delivered, &mut wire);
        assert!(a.is_flushed());
        assert_eq!(a.poll_timeout(), None);
    }

    /// Loss, duplication and reordering on the way: every message comes out once and in order.
    #[test]
    fn messages_arrive_once_and_in_order_over_a_bad_wire() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut now = Time::ZERO;
            let mut sides = [link(), link()];
            let mut wires: [Vec<Packet>; 2] = [Vec::new(), Vec::new()];
            let mut got: [Vec<Message>; 2] = [Vec::new(), Vec::new()];
            let mut sent = [0, 0];
            for step in 0..100_000 {
                if step > 600 && sides.iter().all(Link::is_flushed) {
                    break;
                }
                now = now + Duration::from_millis(1 + rng.below(20) as u64);
                let side = rng.below(2);
                if step < 600 && rng.below(2) == 0 {
                    sent[side] += 1;
                    sides[side]
                        .send(now, numbered(sent[side]), &mut wires[side])
                        .unwrap();
                }
                if sides[side].poll_timeout().is_some_and(|at| at <= now) {
                    sides[side].handle_timeout(now, &mut wires[side]);
                }
                for _ in 0..4 {
                    let Some(packet) = off_a_bad_wire(&mut rng, &mut wires[1 - side]) else {
                        continue;
                    };
                    let mut out = Vec::new();
                    sides[side].receive(now, packet, &mut got[side], &mut out);
                    wires[side].append(&mut out);
                }
            }
            for side in 0..2 {
                let content: Vec<_> = got[side]
                    .iter()
                    .filter(|m| is_content(m))
                    .cloned()
                    .collect();
                let all: Vec<_> = (1..=sent[1 - side]).map(numbered).collect();
                assert_eq!(content.len(), all.len(), "seed {seed}");
                assert!(content == all, "seed {seed}: out of order");
            }
        }
    }

    /// Any packet on the wire may come next; some come twice, some not at all.
    fn off_a_bad_wire(rng: &mut Rng, wire: &mut Vec<Packet>) -> Option<Packet> {
        if wire.is_empty() {
            return None;
        }
        let pick = rng.below(wire.len());
        let packet = match rng.below(10) {
            0 => wire[pick].clone(),
            _ => wire.swap_remove(pick),
        };
        (rng.below(10) > 1).then_some(packet)
    }

    #[test]
    fn a_peer_that_never_acknowledges_is_found_out() {
        let mut link = link();
        let mut out = Vec::new();
        for n in 0..UNACKED_MAX as u64 {
            link.send(Time::ZERO, numbered(n), &mut out).unwrap();
        }
        assert_eq!(out.len(), WINDOW);
        assert!(link.send(Time::ZERO, numbered(0), &mut out).is_err());
    }

    #[test]
    fn a_peer_that_never_acknowledges_large_messages_is_found_out() {
        let mut link = link();
        let result = crate::message::LeaseResult {
            lease: LeaseId(1),
            finished: crate::job::Finished {
                outcome: crate::job::Outcome::Value(vec![0; CLOSURE_BYTES_MAX].into()),
                work: Duration::ZERO,
            },
        };
        let large = Message::ReturnResults {
            results: vec![result],
        };
        let mut out = Vec::new();
        for _ in 0..UNACKED_BYTES_MAX / CLOSURE_BYTES_MAX {
            link.send(Time::ZERO, large.clone(), &mut out).unwrap();
        }
        assert!(link.send(Time::ZERO, large, &mut out).is_err());
        assert!(link.bounds().iter().all(|bound| bound.held <= bound.max));
    }

    #[test]
    fn regression_a_session_ends_when_its_numbers_are_used_up() {
        let (mut a, mut b) = (link(), link());
        (a.last_seq, b.received) = (u32::MAX - 1, u32::MAX - 1);
        let (mut wire, mut back, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
        a.send(Time::ZERO, numbered(1), &mut wire).unwrap();
        b.receive(Time::ZERO, wire.pop().unwrap(), &mut delivered, &mut back);
        assert_eq!(delivered, [numbered(1)]);
        assert!(a.send(Time::ZERO, numbered(2), &mut wire).is_err());
    }

    #[test]
    fn regression_a_message_that_must_arrive_is_not_taken_without_a_number() {
        let (mut a, mut b) = (link(), link());
        let (mut wire, mut back, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
        a.send(Time::ZERO, numbered(1), &mut wire).unwrap();
        let unnumbered = Packet {
            seq: 0,
            ..wire[0].clone()
        };
        let numbered = Packet {
            message: Message::KeepAlive,
            ..wire[0].clone()
        };
        for packet in [unnumbered, numbered] {
            b.receive(Time::ZERO, packet, &mut delivered, &mut back);
        }
        assert_eq!(delivered, []);
    }

    #[test]
    fn regression_the_longest_way_does_not_overflow_the_patience() {
        let mut link = link();
        let path = Path {
            latency: Duration::MAX,
            bytes_per_s: 0,
        };
        link.set_path(path.bounded());
        let mut out = Vec::new();
        link.send(Time::ZERO, numbered(1), &mut out).unwrap();
        assert!(link.poll_timeout().is_some());
    }

    #[test]
    fn acknowledgements_ride_on_what_is_sent_anyway() {
        let (mut a, mut b) = (link(), link());
        let (mut wire, mut back, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
        a.send(Time::ZERO, numbered(1), &mut wire).unwrap();
        b.receive(Time::ZERO, wire.pop().unwrap(), &mut delivered, &mut back);
        b.send(Time::ZERO, numbered(2), &mut back).unwrap();
        a.receive(Time::ZERO, back.pop().unwrap(), &mut delivered, &mut wire);
        assert!(a.is_flushed());
        assert!(wire.is_empty());
    }
}
