//! What the driver of a manager does with each event: it hands it to the machine that it is for, and carries out what follows.

use atlas_proto::ids::{JobAlias, NodeId};
use atlas_proto::job::Finished;
use atlas_proto::message::{Message, Packet};
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerEvent};

use super::store::{JobState, What};
use super::{Atlas, AtlasPacket, Play, packet};
use crate::scenario::{Fault, FaultKind};
use crate::topology::DomainIndex;
use crate::world::{JobOutcome, Nodes as _};

impl Atlas {
    pub(super) fn deliver_to_manager(
        &mut self,
        stage: Play<'_>,
        from: NodeId,
        node: NodeId,
        message: AtlasPacket,
    ) {
        let now = self.local(stage, node);
        let above = stage.topology.domain_above(node);
        let is_above = |from| {
            above.is_some_and(|above| stage.topology.managers(above).any(|node| node == from))
        };
        let place = self.managers.place(node);
        match message {
            // Nobody is there who could hear it.
            AtlasPacket::Node(_) if place.manager.is_none() => {}
            AtlasPacket::Node(packet) => place.held.push_back((from, packet)),
            AtlasPacket::Standby(message) if is_above(from) => {
                if let Some(child) = &mut place.child {
                    child.handle_message(now, from, &message);
                }
            }
            message @ (AtlasPacket::Standby(_)
            | AtlasPacket::Hello(_)
            | AtlasPacket::Replica(_)) => {
                if let Some(seat) = &mut place.seat {
                    seat.handle(now, from, message, &mut place.store);
                }
            }
        }
        self.carry_out(stage, node);
    }

    pub(super) fn manager_alarm(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        let place = self.managers.place(node);
        if let Some(seat) = &mut place.seat {
            seat.handle_timeout(now, &mut place.store);
        }
        if let Some(child) = &mut place.child {
            child.handle_timeout(now);
        }
        let holds = place.holds(now);
        if let Some(manager) = place.manager.as_mut().filter(|_| holds) {
            manager.handle_timeout(now);
        }
        self.carry_out(stage, node);
    }

    /// The job comes to its manager, for the first time or from its store.
    pub(super) fn submit_job(&mut self, stage: Play<'_>) {
        for node in stage.topology.managers(self.submit.0) {
            if stage.topology.other_manager(node).is_none() {
                self.submit_to(stage, node);
            }
            self.carry_out(stage, node);
            self.settled(stage, node);
        }
    }

    pub(super) fn befall_manager(&mut self, stage: Play<'_>, fault: Fault) {
        let domain = DomainIndex(fault.server);
        let first = stage.topology.manager(domain);
        match fault.kind {
            FaultKind::KillManager => self.managers.remove(first),
            FaultKind::StartManager => self.start_manager(stage, first),
            FaultKind::KillStandby => {
                if let Some(node) = stage.topology.standby(domain) {
                    self.managers.remove(node);
                }
            }
            FaultKind::StartStandby => {
                if let Some(node) = stage.topology.standby(domain) {
                    self.start_manager(stage, node);
                }
            }
            FaultKind::KillActing => {
                let mut managers = stage.topology.managers(domain);
                if let Some(node) = managers.find(|&node| self.acts(stage, node)) {
                    self.managers.remove(node);
                }
            }
            FaultKind::Kill
            | FaultKind::Start
            | FaultKind::Leave
            | FaultKind::Retreat
            | FaultKind::Resume
            | FaultKind::Slow => {}
        }
        for node in stage.topology.managers(domain) {
            self.settled(stage, node);
        }
    }

    /// A manager's process comes back, unless it is there.
    fn start_manager(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        if !self.managers.start(now, node) {
            return;
        }
        self.greet_parent(stage, node);
        let is_home = stage.topology.manager(self.submit.0) == node;
        let alone = stage.topology.other_manager(node).is_none();
        if is_home && alone && stage.now() >= self.submit.1 {
            self.submit_to(stage, node);
        }
        self.carry_out(stage, node);
    }

    /// A driver measures the way to the parent when the two are connected.
    pub(super) fn greet_parent(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        let place = self.managers.place(node);
        let parent = stage
            .topology
            .parent(node)
            .filter(|_| place.child.is_none());
        if let (Some(parent), Some(manager)) = (parent, &mut place.manager) {
            manager.handle_path(now, parent, stage.path(node, parent));
        }
    }

    fn submit_to(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        let Some(tree) = stage.tree.clone() else {
            return;
        };
        // A store without a standby is not told that its job has ended.
        let is_over = self.outcome.is_some() && self.managers.place(node).seat.is_none();
        if is_over {
            return;
        }
        // If it is not there, it will be.
        if let Some(job) = self.managers.submit(now, node, &tree) {
            self.job = Some(job);
        }
    }

    /// All that follows from an event at a manager.
    pub(super) fn carry_out(&mut self, stage: Play<'_>, node: NodeId) {
        self.follow_seat(stage, node);
        self.follow_parent(stage, node);
        self.take_held(stage, node);
        self.submit_if_due(stage, node);
        self.drain_manager(stage, node);
        let place = self.managers.place(node);
        while let Some((to, packet)) = place.child.as_mut().and_then(|child| child.poll_send()) {
            stage.send(node, to, packet);
        }
        while let Some((to, packet)) = place.seat.as_mut().and_then(|seat| seat.poll_send()) {
            stage.send(node, to, packet);
        }
        self.tell_safe(stage, node);
    }

    /// One of two begins and ends with what its seat says.
    fn follow_seat(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        let place = self.managers.place(node);
        let Some(acts) = place.seat.as_ref().map(|seat| seat.acts()) else {
            return;
        };
        let was = place.manager.is_some();
        let live = place.store.job == Some(JobState::Live);
        if acts && !was {
            self.managers.begin(now, node);
            self.greet_parent(stage, node);
            if live {
                self.submit_to(stage, node);
            }
        } else if was && !acts {
            self.managers.end(node);
        }
    }

    /// A manager below two has the one for a parent that it heeds.
    fn follow_parent(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        let place = self.managers.place(node);
        let holds = place.holds(now);
        let heeds = place.child.as_ref().and_then(|child| child.heeds());
        if let (Some((parent, _)), Some(manager)) = (heeds, &mut place.manager)
            && holds
            && place.parent != Some(parent)
        {
            manager.handle_path(now, parent, stage.path(node, parent));
            manager.handle_parent(now, parent);
            place.parent = Some(parent);
        }
    }

    /// What has come is for a manager that is sure to act.
    fn take_held(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        let place = self.managers.place(node);
        if !place.holds(now) {
            return;
        }
        let Some(manager) = &mut place.manager else {
            return;
        };
        let is_one_of_two = place.seat.is_some();
        for (from, packet) in place.held.drain(..) {
            hand(stage, manager, (now, node), from, packet);
        }
        // What was due while it was not sure.
        if is_one_of_two && manager.poll_timeout().is_some_and(|due| due <= now) {
            manager.handle_timeout(now);
        }
    }

    /// The client of a domain with a standby comes to whoever acts, until its job is there.
    fn submit_if_due(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        let place = self.managers.place(node);
        let waits = place.seat.is_some()
            && place.holds(now)
            && place.store.job.is_none()
            && !place.took_job;
        let is_home = stage.topology.domain_of(node) == self.submit.0;
        if waits && is_home && stage.now() >= self.submit.1 {
            self.submit_to(stage, node);
        }
    }

    fn drain_manager(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        let place = self.managers.place(node);
        let Some(manager) = &mut place.manager else {
            return;
        };
        while let Some(transmit) = manager.poll_transmit() {
            packet::send(stage, node, transmit, self.wire);
        }
        let events: Vec<ManagerEvent> = std::iter::from_fn(|| manager.poll_event()).collect();
        for event in events {
            match event {
                ManagerEvent::JobFinished { job, finished } => {
                    self.finish(stage, node, job, finished);
                }
                ManagerEvent::CheckpointRecorded { entries, .. } => {
                    self.managers.keep(now, node, What::Recorded(entries));
                }
                ManagerEvent::ForeignJobBegun { job, .. } => self.managers.restore(node, job),
                ManagerEvent::ForeignCheckpointRecorded { entries, .. } => {
                    self.managers
                        .keep(now, node, What::ForeignRecorded(entries));
                }
                ManagerEvent::ForeignJobEnded { .. } => {
                    self.managers.keep(now, node, What::ForeignEnded);
                }
            }
        }
    }

    fn finish(&mut self, stage: Play<'_>, node: NodeId, job: JobAlias, finished: Finished) {
        let now = self.local(stage, node);
        let place = self.managers.place(node);
        place.job = None;
        if place.seat.is_none() {
            let known = self.job == Some(job);
            return self.deliver_result(stage, finished, known);
        }
        self.managers.keep(now, node, What::Ended(finished));
    }

    /// What somebody waits to hear is told when it is safe.
    fn tell_safe(&mut self, stage: Play<'_>, node: NodeId) {
        while let Some(write) = {
            let seat = self.managers.place(node).seat.as_mut();
            seat.and_then(|seat| seat.poll_safe())
        } {
            self.managers.note_safe(node, write.number);
            if let What::Ended(finished) = write.what {
                self.deliver_result(stage, finished, true);
            }
        }
    }

    fn deliver_result(&mut self, stage: Play<'_>, finished: Finished, known: bool) {
        self.deliveries += 1;
        if known && self.outcome.is_none() {
            self.outcome = Some(JobOutcome {
                ended: stage.now(),
                finished,
            });
        }
    }
}

fn hand(
    stage: Play<'_>,
    manager: &mut Manager,
    (now, node): (Time, NodeId),
    from: NodeId,
    packet: Packet,
) {
    if matches!(packet.message, Message::JoinDomain { .. }) {
        manager.handle_path(now, from, stage.path(node, from));
    }
    manager.handle_packet(now, from, packet);
}
