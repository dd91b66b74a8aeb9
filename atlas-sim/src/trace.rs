//! A file of virtual time for Perfetto (`ui.perfetto.dev`) or `chrome://tracing`.
//!
//! Each node is a process with two tracks: *workers*, with a span for as long as the same number of them is
//! busy, and *messages*, with a mark for each one sent or received and an arrow between the two. The file is
//! written while the world runs, and says that it is cut short rather than grow without bound.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use atlas_proto::engine::EngineLoad;
use atlas_proto::ids::NodeId;
use atlas_proto::time::Time;

use crate::topology::{Role, ServerIndex, Topology};

/// Where a trace goes.
pub struct Trace {
    out: Box<dyn Write>,
    /// The first error, told at the end.
    failed: Option<io::Error>,
    entries: u64,
    workers: u32,
    /// Since when so many workers of a server are busy.
    busy: BTreeMap<NodeId, (Time, u32)>,
}

impl Trace {
    /// A trace of a world whose servers have so many workers each.
    pub fn new(out: Box<dyn Write>, workers: u32) -> Self {
        Self {
            out,
            failed: None,
            entries: 0,
            workers,
            busy: BTreeMap::new(),
        }
    }

    /// Names the tracks.
    pub(crate) fn start(&mut self, topology: &Topology) {
        self.write(format_args!(
            "[\n{{\"ph\":\"M\",\"name\":\"trace\",\"pid\":0}}"
        ));
        for domain in topology.domains() {
            let name = &topology.place(domain).name;
            self.name(
                topology.manager(domain),
                topology,
                format_args!("manager {name}"),
            );
            if let Some(standby) = topology.standby(domain) {
                self.name(standby, topology, format_args!("standby {name}"));
            }
        }
        for server in topology.servers() {
            let home = &topology.place(topology.home(server)).name;
            self.name(
                topology.server(server),
                topology,
                format_args!("server {}.{home}", server.0),
            );
        }
    }

    /// A message leaves its sender. `serial` tells it from all others.
    pub(crate) fn sent(&mut self, now: Time, from: NodeId, kind: &str, serial: u64) {
        self.mark(now, from, kind, serial, "\"ph\":\"s\"");
    }

    /// A message reaches its receiver.
    pub(crate) fn received(&mut self, now: Time, to: NodeId, kind: &str, serial: u64) {
        self.mark(now, to, kind, serial, "\"ph\":\"f\",\"bp\":\"e\"");
    }

    /// An engine has told how many of its workers are idle.
    pub(crate) fn load(&mut self, now: Time, node: NodeId, load: &EngineLoad) {
        self.busy_workers(now, node, self.workers.saturating_sub(load.idle));
    }

    /// From now on so many workers are busy.
    pub(crate) fn busy_workers(&mut self, now: Time, node: NodeId, busy: u32) {
        let before = self.busy.insert(node, (now, busy));
        match before {
            Some((since, same)) if same == busy => {
                self.busy.insert(node, (since, same));
            }
            Some((since, workers)) if workers > 0 => self.span(since, now, node, workers),
            Some(_) | None => {}
        }
    }

    /// Ends the file, with the first error that there was.
    pub(crate) fn end(mut self, now: Time) -> io::Result<()> {
        for (node, (since, workers)) in std::mem::take(&mut self.busy) {
            if workers > 0 {
                self.span(since, now, node, workers);
            }
        }
        self.entries = 0;
        self.write(format_args!("\n]\n"));
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    fn name(&mut self, node: NodeId, topology: &Topology, name: fmt::Arguments<'_>) {
        let pid = node.0;
        self.entry(format_args!(
            "{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{pid},\"args\":{{\"name\":\"{name}\"}}}}"
        ));
        let is_server = matches!(topology.role(node), Some(Role::Server(ServerIndex(_))));
        for (tid, name) in [(WORKERS, "workers"), (MESSAGES, "messages")] {
            if is_server || tid == MESSAGES {
                self.entry(format_args!(
                    "{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{pid},\"tid\":{tid},\"args\":{{\"name\":\"{name}\"}}}}"
                ));
            }
        }
    }

    fn span(&mut self, since: Time, now: Time, node: NodeId, workers: u32) {
        let (ts, dur, pid) = (micros(since), micros(Time(now.0 - since.0)), node.0);
        self.entry(format_args!(
            "{{\"ph\":\"X\",\"name\":\"{workers} busy\",\"ts\":{ts:.3},\"dur\":{dur:.3},\"pid\":{pid},\"tid\":{WORKERS}}}"
        ));
    }

    fn mark(&mut self, now: Time, node: NodeId, kind: &str, serial: u64, arrow: &str) {
        let (ts, pid) = (micros(now), node.0);
        self.entry(format_args!(
            "{{\"ph\":\"X\",\"name\":\"{kind}\",\"ts\":{ts:.3},\"dur\":0,\"pid\":{pid},\"tid\":{MESSAGES}}},\n\
             {{{arrow},\"name\":\"{kind}\",\"cat\":\"message\",\"id\":{serial},\"ts\":{ts:.3},\"pid\":{pid},\"tid\":{MESSAGES}}}"
        ));
    }

    fn entry(&mut self, entry: fmt::Arguments<'_>) {
        self.entries += 1;
        if self.entries < ENTRIES_MAX {
            self.write(format_args!(",\n{entry}"));
        } else if self.entries == ENTRIES_MAX {
            let note = "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":0,\"args\":{\"name\":\"cut short\"}}";
            self.write(format_args!(",\n{note}"));
        }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        if self.failed.is_none() {
            self.failed = self.out.write_fmt(text).err();
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a picture's resolution")]
fn micros(time: Time) -> f64 {
    time.0 as f64 / 1e3
}

const WORKERS: u32 = 1;
const MESSAGES: u32 = 2;
/// About a gigabyte of text: what a browser still opens.
const ENTRIES_MAX: u64 = 5_000_000;
