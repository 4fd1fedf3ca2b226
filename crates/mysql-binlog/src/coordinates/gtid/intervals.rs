//! Transaction numbers of one origin as intervals, in runs that copies share.
//!
//! A set can have tens of thousands of intervals: a server that was filled by others, or whose numbers have
//! holes. Then neither the insertion of a number nor a copy of the set may cost that many. A copy shares all
//! runs; an insertion copies one run, when it is shared.

use std::sync::Arc;

use super::Interval;

/// Most intervals in a run: 2 KiB.
const RUN_MAX: usize = 128;

/// Intervals that are sorted, disjoint and not adjacent.
#[derive(Clone, Default)]
pub(super) struct Intervals {
    /// None of them is empty.
    runs: Vec<Arc<Vec<Interval>>>,
}

impl Intervals {
    /// Of intervals in any order, which may overlap.
    pub fn of(mut intervals: Vec<Interval>) -> Intervals {
        normalise(&mut intervals);
        let runs = intervals.chunks(RUN_MAX).map(|run| Arc::new(run.to_vec()));
        Intervals { runs: runs.collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Interval> {
        self.runs.iter().flat_map(|run| run.iter())
    }

    pub fn contains(&self, number: u64) -> bool {
        let run = self.runs.partition_point(|run| run[0].first <= number);
        let Some(run) = run.checked_sub(1).map(|run| &self.runs[run]) else { return false };
        let after = run.partition_point(|interval| interval.first <= number);
        number <= run[after - 1].last
    }

    /// Adds one number, and answers whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        if let Some(run) = self.runs.last_mut()
            && let Some(last) = run.last()
            && last.last + 1 == number
        {
            let at = run.len() - 1;
            Arc::make_mut(run)[at].last = number;
            return true;
        }
        let run = self.runs.partition_point(|run| run[0].first <= number).saturating_sub(1);
        let Some(within) = self.runs.get(run) else {
            self.runs.push(Arc::new(vec![Interval { first: number, last: number }]));
            return true;
        };
        let after = within.partition_point(|interval| interval.first <= number);
        let before = after.checked_sub(1).map(|at| within[at]);
        if before.is_some_and(|before| number <= before.last) {
            return false;
        }
        let joins_before = before.is_some_and(|before| before.last + 1 == number);
        self.put(run, after, number, joins_before);
        true
    }

    /// Puts a number that is in no interval before the interval `at` of a run.
    fn put(&mut self, run: usize, at: usize, number: u64, joins_before: bool) {
        // The next interval may be the first one of the next run.
        let (next_run, next_at) = if at == self.runs[run].len() { (run + 1, 0) } else { (run, at) };
        let next = self.runs.get(next_run).map(|run| run[next_at]);
        match next.filter(|next| next.first == number + 1) {
            Some(next) if joins_before => {
                Arc::make_mut(&mut self.runs[run])[at - 1].last = next.last;
                self.remove(next_run, next_at);
            }
            None if joins_before => Arc::make_mut(&mut self.runs[run])[at - 1].last = number,
            Some(_) => Arc::make_mut(&mut self.runs[next_run])[next_at].first = number,
            None => {
                let intervals = Arc::make_mut(&mut self.runs[run]);
                intervals.insert(at, Interval { first: number, last: number });
                if intervals.len() > RUN_MAX {
                    // Numbers mostly come in order: what is behind a full run begins another one.
                    let keep = if at + 1 == intervals.len() { RUN_MAX } else { RUN_MAX / 2 };
                    let rest = intervals.split_off(keep);
                    self.runs.insert(run + 1, Arc::new(rest));
                }
            }
        }
    }

    fn remove(&mut self, run: usize, at: usize) {
        let intervals = Arc::make_mut(&mut self.runs[run]);
        intervals.remove(at);
        if intervals.is_empty() {
            self.runs.remove(run);
        }
    }

    /// What is here and not there.
    pub fn without(&self, others: &Intervals) -> Intervals {
        Intervals::of(subtract(self.iter(), others.iter()))
    }

    pub fn is_subset_of(&self, others: &Intervals) -> bool {
        subtract(self.iter(), others.iter()).is_empty()
    }

    /// The runs are of any length that is allowed, and not empty.
    #[cfg(test)]
    pub fn is_normal(&self) -> bool {
        let all: Vec<_> = self.iter().collect();
        self.runs.iter().all(|run| (1..=RUN_MAX).contains(&run.len()))
            && all.iter().all(|interval| 1 <= interval.first && interval.first <= interval.last)
            && all.windows(2).all(|pair| pair[0].last + 1 < pair[1].first)
    }
}

/// Where runs begin makes no difference.
impl PartialEq for Intervals {
    fn eq(&self, other: &Intervals) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Intervals {}

/// Sorts intervals and joins those that overlap or touch.
fn normalise(intervals: &mut Vec<Interval>) {
    intervals.sort_unstable_by_key(|interval| interval.first);
    intervals.dedup_by(|next, kept| {
        let joins = next.first <= kept.last + 1;
        if joins {
            kept.last = kept.last.max(next.last);
        }
        joins
    });
}

/// What of `from` is not in `others`.
fn subtract<'a>(
    from: impl Iterator<Item = &'a Interval>,
    others: impl Iterator<Item = &'a Interval>,
) -> Vec<Interval> {
    let mut rest = Vec::new();
    let mut others = others.peekable();
    for interval in from {
        let mut first = interval.first;
        while let Some(other) = others.peek()
            && other.first <= interval.last
        {
            if first < other.first {
                rest.push(Interval { first, last: other.first - 1 });
            }
            first = first.max(other.last + 1);
            if other.last > interval.last {
                // It may cover a part of the next interval too.
                break;
            }
            others.next();
        }
        if first <= interval.last {
            rest.push(Interval { first, last: interval.last });
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn numbers(intervals: &Intervals) -> BTreeSet<u64> {
        intervals.iter().flat_map(|interval| interval.first..=interval.last).collect()
    }

    #[test]
    fn a_copy_shares_all_runs_but_the_one_that_changes() {
        let every_second = (0..20_000).map(|n| Interval { first: 2 * n + 1, last: 2 * n + 1 });
        let mut intervals = Intervals::of(every_second.collect());
        for number in [2, 20_002, 39_998, 50_000, 60_000] {
            let copy = intervals.clone();
            assert!(intervals.insert(number) && !copy.contains(number));
            let shared = |run: &&Arc<Vec<Interval>>| Arc::strong_count(run) > 1;
            let changed = intervals.runs.len() - intervals.runs.iter().filter(shared).count();
            assert!(changed <= 2, "{number}: {changed} runs of {}", intervals.runs.len());
        }
        assert!(intervals.is_normal());
    }

    proptest! {
        #[test]
        fn long_runs_are_split_and_joined_like_plain_sets(
            start in prop::collection::vec(1..2_000_u64, 0..600),
            more in prop::collection::vec(1..2_000_u64, 0..600),
        ) {
            let mut model: BTreeSet<u64> = start.iter().copied().collect();
            let single = |number: &u64| Interval { first: *number, last: *number };
            let mut intervals = Intervals::of(start.iter().map(single).collect());
            for number in more {
                prop_assert_eq!(intervals.contains(number), model.contains(&number));
                prop_assert_eq!(intervals.insert(number), model.insert(number));
            }
            prop_assert!(intervals.is_normal());
            prop_assert_eq!(numbers(&intervals), model.clone());
            let whole = Intervals::of(model.iter().map(single).collect());
            prop_assert_eq!(whole.len(), intervals.len());
            prop_assert!(whole == intervals);
        }
    }
}
