//! [`Plan`]: which blocks of a file are there, which are on their way, and which to fetch next. **Pure.**
//!
//! Reads come in, ranges come out. Who reads on where a read ended is given more and more in advance: the window doubles with each
//! such read, and is filled again when half of it is used up, so that requests stay large. Who jumps gets the blocks that were asked
//! for and no others. No block is on its way twice.
//!
//! ```text
//! missing --poll_fetch--> on its way --handle_stored--> present
//!    ^                        |                           |
//!    +------handle_end--------+------handle_lost----------+
//! ```

use std::collections::VecDeque;
use std::ops::Range;

/// Blocks of a file, by their numbers.
pub(crate) type Blocks = Range<u64>;

/// How much at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of one request.
    pub(crate) range_max: u64,
    /// Requests at a time that nobody waits for; some more are made for those who wait.
    pub(crate) parallel_max: usize,
    /// What is fetched in advance of a reader.
    pub(crate) window_max: u64,
}

/// The blocks of one file.
#[derive(Debug)]
pub(crate) struct Plan {
    blocks: u64,
    limits: Limits,
    present: Bits,
    coming: Bits,
    missing: u64,
    under_way: usize,
    /// Whether only the whole can be asked for.
    whole: bool,
    /// What somebody waits for.
    demanded: VecDeque<Blocks>,
    /// What somebody may want soon.
    ahead: VecDeque<Blocks>,
    readers: VecDeque<Reader>,
}

/// Somebody who reads on and on, as far as can be told from where reads begin.
#[derive(Debug)]
struct Reader {
    next: u64,
    window: u64,
    planned_to: u64,
}

impl Plan {
    /// Of so many blocks, of which none is there.
    pub(crate) fn new(blocks: u64, limits: Limits) -> Self {
        Self {
            blocks,
            limits,
            present: Bits::new(blocks),
            coming: Bits::new(blocks),
            missing: blocks,
            under_way: 0,
            whole: false,
            demanded: VecDeque::new(),
            ahead: VecDeque::new(),
            readers: VecDeque::new(),
        }
    }

    /// From now on no range is asked for, since they are not to be had or not to be trusted.
    pub(crate) fn ask_for_whole(&mut self) {
        self.whole = true;
    }

    pub(crate) fn asks_for_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn has(&self, blocks: &Blocks) -> bool {
        blocks.clone().all(|block| self.present.get(block))
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// There are blocks, and none is here.
    pub(crate) fn has_nothing(&self) -> bool {
        self.blocks > 0 && self.missing == self.blocks
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    /// The first of these that is missing, whether it is on its way or not.
    pub(crate) fn first_missing(&self, blocks: &Blocks) -> Option<u64> {
        blocks.clone().find(|&block| !self.present.get(block))
    }

    /// Where the missing blocks in a row end that these begin with.
    pub(crate) fn missing_to(&self, blocks: Blocks) -> u64 {
        let mut rest = blocks.clone();
        rest.find(|&block| self.present.get(block))
            .unwrap_or(blocks.end)
    }

    /// Somebody reads these.
    pub(crate) fn handle_read(&mut self, read: Blocks) {
        let read = read.start..read.end.min(self.blocks);
        self.demand(read.clone());
        let found = self.readers.iter().position(|reader| {
            // The last block of one read is often the first of the next.
            reader.next == read.start || reader.next == read.start + 1
        });
        let mut reader = match found.and_then(|at| self.readers.remove(at)) {
            Some(reader) => Reader {
                next: read.end,
                window: (reader.window * 2)
                    .max(2 * (read.end - read.start))
                    .min(self.limits.window_max),
                ..reader
            },
            None => Reader {
                next: read.end,
                // Most files are read from their beginning to their end.
                window: if read.start == 0 { read.end } else { 0 },
                planned_to: read.end,
            },
        };
        let left = reader.planned_to.saturating_sub(read.end);
        if left * 2 < reader.window {
            let from = reader.planned_to.max(read.end);
            let range = self.limits.range_max;
            let mut to = read.end + reader.window;
            if to - from >= range {
                // Whole requests: what is left over would be a small one.
                to -= (to - from) % range;
            }
            let to = to.min(self.blocks);
            if from < to && self.ahead.len() < SPANS_MAX {
                self.ahead.push_back(from..to);
                reader.planned_to = to;
            }
        }
        self.readers.push_front(reader);
        self.readers.truncate(READERS_MAX);
    }

    /// Somebody waits for these.
    pub(crate) fn demand(&mut self, blocks: Blocks) {
        if self.first_missing(&blocks).is_some() && self.demanded.len() < SPANS_MAX {
            self.demanded.push_back(blocks);
        }
    }

    /// All of the file is wanted.
    pub(crate) fn want_all(&mut self) {
        self.ahead.clear();
        self.ahead.push_back(0..self.blocks);
    }

    /// What to ask for now, if anything: missing blocks in a row, which are on their way from now on.
    pub(crate) fn poll_fetch(&mut self) -> Option<Blocks> {
        if self.whole {
            let wanted = !(self.demanded.is_empty() && self.ahead.is_empty());
            if !wanted || self.under_way > 0 || self.missing == 0 {
                return None;
            }
            self.demanded.clear();
            self.ahead.clear();
            return Some(self.begin(0..self.blocks));
        }
        if self.under_way < self.limits.parallel_max + DEMANDED_EXTRA
            && let Some(blocks) = self.next_of(|plan| &mut plan.demanded)
        {
            return Some(self.begin(blocks));
        }
        if self.under_way < self.limits.parallel_max
            && let Some(blocks) = self.next_of(|plan| &mut plan.ahead)
        {
            return Some(self.begin(blocks));
        }
        None
    }

    /// A response that came otherwise carries these.
    pub(crate) fn begin(&mut self, blocks: Blocks) -> Blocks {
        self.under_way += 1;
        for block in blocks.clone() {
            self.coming.set(block, true);
        }
        blocks
    }

    /// It lies on the disk.
    pub(crate) fn handle_stored(&mut self, block: u64) {
        if !self.present.get(block) {
            self.present.set(block, true);
            self.missing -= 1;
        }
        self.coming.set(block, false);
    }

    /// What lies on the disk is not what was stored there.
    pub(crate) fn handle_lost(&mut self, block: u64) {
        if self.present.get(block) {
            self.present.set(block, false);
            self.missing += 1;
        }
    }

    /// A request is over, whatever it has brought. What is missing is asked for again when somebody reads it.
    pub(crate) fn handle_end(&mut self, blocks: &Blocks) {
        self.under_way -= 1;
        for block in blocks.clone() {
            self.coming.set(block, false);
        }
    }

    fn next_of(&mut self, queue: fn(&mut Self) -> &mut VecDeque<Blocks>) -> Option<Blocks> {
        while let Some(span) = queue(self).pop_front() {
            let Some(first) = span.clone().find(|&block| self.is_wanted(block)) else {
                continue;
            };
            let end = span.end.min(first + self.limits.range_max);
            let end = (first..end)
                .find(|&block| !self.is_wanted(block))
                .unwrap_or(end);
            if end < span.end {
                queue(self).push_front(end..span.end);
            }
            return Some(first..end);
        }
        None
    }

    fn is_wanted(&self, block: u64) -> bool {
        !self.present.get(block) && !self.coming.get(block)
    }
}

/// A bit a block.
#[derive(Debug)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn new(bits: u64) -> Self {
        let words =
            usize::try_from(bits.div_ceil(64)).expect("a file's blocks fit into memory as bits");
        Self(vec![0; words])
    }

    /// Those beyond the end are not set.
    pub(crate) fn get(&self, bit: u64) -> bool {
        let word = usize::try_from(bit / 64)
            .ok()
            .and_then(|word| self.0.get(word));
        word.is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    pub(crate) fn set(&mut self, bit: u64, value: bool) {
        let word = usize::try_from(bit / 64)
            .ok()
            .and_then(|word| self.0.get_mut(word));
        if let Some(word) = word {
            let mask = 1 << (bit % 64);
            *word = if value { *word | mask } else { *word & !mask };
        }
    }
}

/// Readers of one file whose windows are remembered.
const READERS_MAX: usize = 16;
/// Spans that wait to be asked for. Who waits for one that did not fit asks again.
const SPANS_MAX: usize = 1024;
/// Requests beyond the usual number for those who wait, so that they need not wait for what nobody waits for.
const DEMANDED_EXTRA: usize = 4;

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "requests are compared, and sometimes there is one"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        range_max: 16,
        parallel_max: 4,
        window_max: 64,
    };

    fn fetches(plan: &mut Plan) -> Vec<Blocks> {
        std::iter::from_fn(|| plan.poll_fetch()).collect()
    }

    fn store(plan: &mut Plan, fetched: &[Blocks]) {
        for span in fetched {
            span.clone().for_each(|block| plan.handle_stored(block));
            plan.handle_end(span);
        }
    }

    #[test]
    fn who_jumps_gets_what_was_asked_for() {
        let mut plan = Plan::new(1000, LIMITS);
        for at in [500, 100, 900] {
            plan.handle_read(at..at + 1);
            assert_eq!(fetches(&mut plan), [at..at + 1]);
        }
    }

    #[test]
    fn who_reads_on_gets_large_ranges_in_advance() {
        let mut plan = Plan::new(10_000, LIMITS);
        let mut requests = Vec::new();
        for at in 0..1000 {
            plan.handle_read(at..at + 1);
            let fetched = fetches(&mut plan);
            store(&mut plan, &fetched);
            requests.extend(fetched);
            assert!(plan.has(&(at..at + 1)));
        }
        let large = requests
            .iter()
            .filter(|span| span.end - span.start == 16)
            .count();
        assert!(large * 16 > 900, "{requests:?}");
        assert!(requests.len() < 80, "{} requests", requests.len());
    }

    #[test]
    fn who_waits_is_served_though_others_read_ahead() {
        let mut plan = Plan::new(10_000, LIMITS);
        plan.want_all();
        assert_eq!(fetches(&mut plan).len(), LIMITS.parallel_max);
        plan.handle_read(9000..9001);
        assert_eq!(fetches(&mut plan), [9000..9001]);
    }

    #[test]
    fn without_ranges_the_whole_is_asked_for_once() {
        let mut plan = Plan::new(100, LIMITS);
        plan.ask_for_whole();
        assert_eq!(plan.poll_fetch(), None);
        plan.handle_read(50..51);
        assert_eq!(fetches(&mut plan), [0..100]);
        plan.handle_read(70..71);
        assert_eq!(plan.poll_fetch(), None);
        plan.handle_end(&(0..100));
        assert_eq!(fetches(&mut plan), [0..100]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Read(u64, u64),
        Finish(usize, u64),
        Lose(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..200, 1u64..20).prop_map(|(at, length)| Step::Read(at, length)),
            (0usize..8, 0u64..20).prop_map(|(which, blocks)| Step::Finish(which, blocks)),
            (0u64..200).prop_map(Step::Lose),
        ]
    }

    proptest! {
        #[test]
        fn no_block_is_on_its_way_twice_and_all_that_is_read_comes(steps in prop::collection::vec(step(), 1..200)) {
            let mut plan = Plan::new(200, LIMITS);
            let mut coming: Vec<Blocks> = Vec::new();
            for step in steps {
                match step {
                    Step::Read(at, length) => plan.handle_read(at..(at + length).min(200)),
                    Step::Finish(which, blocks) if which < coming.len() => {
                        let span = coming.swap_remove(which);
                        span.clone().take(usize::try_from(blocks).unwrap()).for_each(|block| plan.handle_stored(block));
                        plan.handle_end(&span);
                    }
                    Step::Finish(..) => {}
                    Step::Lose(block) => plan.handle_lost(block),
                }
                for span in fetches(&mut plan) {
                    prop_assert!(span.start < span.end && span.end <= 200);
                    prop_assert!(span.end - span.start <= LIMITS.range_max);
                    prop_assert!(span.clone().all(|block| !plan.has(&(block..block + 1))));
                    prop_assert!(coming.iter().all(|other| other.end <= span.start || span.end <= other.start));
                    coming.push(span);
                }
                prop_assert!(coming.len() <= LIMITS.parallel_max + DEMANDED_EXTRA);
            }
            // In the end, whoever asks again and again gets the whole.
            while !plan.is_complete() {
                plan.demand(0..200);
                coming.extend(fetches(&mut plan));
                store(&mut plan, &std::mem::take(&mut coming));
            }
            prop_assert!(plan.is_idle() && plan.has(&(0..200)));
        }
    }
}
