//! Tables that schema-change tools make while they alter another one. They copy every row into such a table, and most
//! tools log each copy as an insert. A relay that took these rows would publish old events again.
//!
//! The names are those of gh-ost, pt-online-schema-change, spirit, Facebook's OSC, LHM and Vitess, and MySQL's
//! own `#sql-…`.

/// `_{table}` and one of these: gh-ost's copy, changelog, checkpoint and old table; pt-online-schema-change's and
/// spirit's new and old one, and spirit's checkpoint; Vitess' copy.
const SUFFIXES: [&str; 9] =
    ["_gho", "_ghc", "_ghk", "_ghr", "_del", "_new", "_old", "_chkpnt", "_vrepl"];

/// These and the name of the table: Facebook's OSC, LHM's copy and archive, MySQL.
const PREFIXES: [&str; 6] = ["__osc_new_", "__osc_chg_", "__osc_old_", "lhmn_", "lhma_", "#sql"];

/// Digits of the UUID in Vitess' names, `_vt_{what for}_{UUID}_{time}`.
const VITESS_UUID_DIGITS: usize = 32;

/// Whether the name is one that such a tool gives.
pub(super) fn is_ghost(table: &str) -> bool {
    let Some(first) = table.bytes().next().filter(|first| matches!(first, b'_' | b'l' | b'#'))
    else {
        return false;
    };
    let has_name_before = |suffix: &str| {
        let name = without_time(table).strip_suffix(suffix);
        name.is_some_and(|name| !name.trim_start_matches('_').is_empty())
    };
    PREFIXES.iter().any(|prefix| table.len() > prefix.len() && table.starts_with(prefix))
        || first == b'_' && SUFFIXES.iter().any(|suffix| has_name_before(suffix))
        || is_of_vitess(table)
}

fn is_of_vitess(table: &str) -> bool {
    let is_uuid = |part: &str| {
        part.len() == VITESS_UUID_DIGITS && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    table.strip_prefix("_vt_").and_then(|rest| rest.split('_').nth(1)).is_some_and(is_uuid)
}

/// gh-ost puts the time before `_del` where it is told to, and spirit behind `_old`: digits of which we take off
/// those behind.
fn without_time(table: &str) -> &str {
    let is_time = |c: char| c.is_ascii_digit() || c == '_';
    let name = table.trim_end_matches(is_time);
    if table.len() - name.len() >= 15 { name } else { table }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_the_tools_give_are_known() {
        for table in [
            "_events_gho",
            "_events_ghc",
            "_events_ghk",
            "_events_del",
            "_events_20261127074227_del",
            "_events_new",
            "_events_old",
            "__events_new",
            "__________events_new",
            "_events_old_20261127_074227",
            "_events_chkpnt",
            "__osc_new_events",
            "__osc_chg_events",
            "__osc_old_events",
            "lhmn_events",
            "lhma_2026_11_27_07_42_27_123_events",
            "_vt_HOLD_6ace8bcef73211ea87e9f875a4d24e90_20200915120410",
            "_vt_vrp_6ace8bcef73211ea87e9f875a4d24e90_20200915120410_",
            "_4e5dcf80_354b_11eb_82cd_f875a4d24e90_20201203114014_vrepl",
            "#sql-ib123-456",
            "#sql2-1-2",
        ] {
            assert!(is_ghost(table), "{table}");
        }
        for table in [
            "events",
            "events_old",
            "events_new",
            "_events",
            "_new",
            "__old",
            "_renewals",
            "message_del",
            "lhm",
            "lhmn_",
            "_outbox_2026",
            "_vt_orders",
            "",
            "événements_gho",
        ] {
            assert!(!is_ghost(table), "{table}");
        }
    }
}
