//! The known word that a mistyped one most likely stands for, for hints in error messages.

/// Below this similarity (0 to 1) a suggestion would puzzle more than it helps: `hots` is 0.88 to
/// `hosts`, `timeout` is 0.54 to `outbox`.
const SIMILARITY_MIN: f64 = 0.75;

/// The known word nearest to `word`, or `None` if none is near. Case, `-` and `_` make no difference.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let word = plain(word);
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &plain(candidate)), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["hosts", "user", "password", "start_from", "server_id", "heartbeat"];
        for (typed, meant) in [
            ("host", "hosts"),
            ("pasword", "password"),
            ("start-from", "start_from"),
            ("serverid", "server_id"),
            ("Heartbeat", "heartbeat"),
        ] {
            assert_eq!(nearest(typed, known), Some(meant));
        }
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("gtid", known), None);
    }
}
