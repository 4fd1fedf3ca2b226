//! How long the relay pauses before it retries. Pure: the caller hands in the random number.

use std::time::Duration;

/// The longest first pause; each failure in a row doubles it …
const FIRST_MAX: Duration = Duration::from_millis(100);
/// … up to this.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The pause after a failure that follows `failures` others in a row: `FIRST_MAX`, doubled by each of them up to
/// [`PAUSE_MAX`]. Chance takes up to half of it off, so that relays that lost the same server do not all return at the
/// same moment.
pub fn pause(failures: u32, chance: u32) -> Duration {
    let doubled = FIRST_MAX.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    let longest = doubled.min(PAUSE_MAX);
    longest - (longest / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

/// A pause as the log shows it. JSON has no number of 128 bits.
pub fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}

/// A random number, uniformly distributed.
pub fn chance() -> u32 {
    // Its first 32 bits are random.
    uuid::Uuid::new_v4().as_fields().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_is_between_half_and_all_of_what_doubling_gives(failures: u32, chance: u32) {
            let longest = (0..failures.min(10))
                .fold(FIRST_MAX, |pause, _| (pause * 2).min(PAUSE_MAX));
            let paused = pause(failures, chance);
            prop_assert!(paused <= longest && paused >= longest / 2, "{:?}", paused);
        }
    }

    #[test]
    fn chance_spreads_pauses_over_the_whole_range() {
        assert_eq!(pause(0, 0), FIRST_MAX);
        assert_eq!(pause(0, u32::MAX), FIRST_MAX / 2);
        assert_eq!(pause(6, 0), PAUSE_MAX);
        assert_eq!(pause(6, u32::MAX), PAUSE_MAX / 2);
        let pauses: Vec<_> = (0..100).map(|_| pause(6, chance())).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }
}
