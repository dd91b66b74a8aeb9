//! How jobs of others go on below this manager: sums, told now and then to the neighbour that each job is from.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use atlas_net::{Connection, StreamError, StreamKind};
use atlas_proto::control::{JobProgress, NODE_TOPIC, NodeRequest};
use atlas_proto::ids::{JobAlias, NodeId};

/// What was told of the jobs of others, by this domain's names for them.
#[derive(Debug, Default)]
pub(crate) struct Relayed {
    jobs: HashMap<JobAlias, Sums>,
}

#[derive(Debug)]
struct Sums {
    children: HashMap<NodeId, JobProgress>,
    told: Option<Instant>,
    changed: Instant,
}

impl Relayed {
    /// A child has told of a job. Gives the sum in the name of the job's origin, if it is time to tell it.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        job: JobAlias,
        from: NodeId,
        progress: JobProgress,
        alias: JobAlias,
    ) -> Option<JobProgress> {
        self.jobs
            .retain(|_, sums| now.duration_since(sums.changed) < FORGOTTEN_AFTER);
        let sums = self.jobs.entry(job).or_insert_with(|| Sums {
            children: HashMap::new(),
            told: None,
            changed: now,
        });
        sums.children.insert(from, progress);
        sums.changed = now;
        let is_due = |told: Instant| now.duration_since(told) >= INTERVAL;
        sums.told.is_none_or(is_due).then(|| {
            sums.told = Some(now);
            let all = sums.children.values();
            JobProgress {
                job: alias,
                closures: all.clone().map(|one| one.closures).sum(),
                work: all.clone().map(|one| one.work).sum(),
                servers: all.clone().map(|one| one.servers).sum(),
                workers: all.map(|one| one.workers).sum(),
            }
        })
    }
}

/// Tells the neighbour; a word that is lost is followed by the next one.
pub(crate) async fn tell(origin: Connection, progress: JobProgress) {
    let told: Result<(), StreamError> = async {
        let kind = StreamKind::Request { topic: NODE_TOPIC };
        let mut stream = origin.open_stream(kind).await?;
        stream.send_frame(&NodeRequest::Progress).await?;
        stream.send_frame(&vec![progress]).await?;
        stream.finish()
    }
    .await;
    if let Err(error) = told {
        tracing::debug!(%error, "how a job goes on is not told");
    }
}

/// As often as people can read.
const INTERVAL: Duration = Duration::from_millis(450);
/// Nobody tells the end of a job of others; one of which nothing is heard is over, or begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_told_now_and_then() {
        let (mut relayed, start) = (Relayed::default(), Instant::now());
        let one = |closures| JobProgress {
            job: JobAlias(7),
            closures,
            work: Duration::from_secs(closures),
            servers: 1,
            workers: 2,
        };
        let mut note = |after, from, closures| {
            let now = start + Duration::from_millis(after);
            relayed.note(now, JobAlias(1), NodeId(from), one(closures), JobAlias(9))
        };
        let first = note(0, 1, 3).unwrap();
        assert_eq!((first.job, first.closures), (JobAlias(9), 3));
        assert_eq!(note(100, 2, 5), None);
        let sum = note(500, 1, 4).unwrap();
        assert_eq!((sum.closures, sum.servers, sum.workers), (9, 2, 4));
        assert_eq!(sum.work, Duration::from_secs(9));
        // Long after, only what is told anew counts.
        assert_eq!(note(700_000, 3, 2).unwrap().closures, 2);
    }
}
