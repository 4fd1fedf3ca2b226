//! GTID sets against a model, a plain set of GTIDs.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

fn set(text: &str) -> GtidSet {
    text.parse().unwrap()
}

#[test]
fn a_set_prints_as_mysql_prints_it() {
    for (text, printed) in [
        ("", String::new()),
        ("  ,\n, ", String::new()),
        (&format!("{A}:1-5"), format!("{A}:1-5")),
        (&format!(" {} : 1 - 5 : 7 ,\n{B}:3 ", A.to_uppercase()), format!("{A}:1-5:7,{B}:3")),
        (&format!("{B}:3,{A}:7:1-5:6"), format!("{A}:1-7,{B}:3")),
        (&format!("{A}:5-9:1-6:20"), format!("{A}:1-9:20")),
        (&format!("{A}:1-5:Tag_1:7:8:a:2"), format!("{A}:1-5:a:2:tag_1:7-8")),
        (&format!("{A}:tag:7,{A}:1,{A}:tag:8"), format!("{A}:1:tag:7-8")),
    ] {
        assert_eq!(set(text).to_string(), printed, "{text:?}");
    }
}

#[test]
fn a_long_set_is_shown_in_short() {
    let numbers = |count| (0..count).map(|n| format!(":{}", 2 * n + 1)).collect::<String>();
    let short = format!("{A}{}", numbers(20));
    assert_eq!(set(&short).in_short(), short);
    let long = set(&format!("{A}{},{B}:1", numbers(20_000)));
    assert_eq!(long.in_short(), format!("{short} and more, 20001 intervals in all"));
    let two = set(&format!("{A}:1-5,{B}{}", numbers(20)));
    assert_eq!(two.in_short(), format!("{A}:1-5,{B}{} and more, 21 intervals in all", numbers(19)));
}

#[test]
fn what_is_not_a_set_is_refused() {
    for text in [
        "x",
        A,
        &format!("{A}:"),
        &format!("{A}:0"),
        &format!("{A}:5-1"),
        &format!("{A}:1-"),
        &format!("{A}:-5"),
        &format!("{A}:1-5-6"),
        &format!("{A}:9223372036854775807"),
        &format!("{A}:tag"),
        &format!("{A}:1:tag"),
        &format!("{A}:tag:other:1"),
        &format!("{A} {B}:1"),
        &format!("{A}:ta-g:1"),
        "3e11fa4771ca11e19e33c80aa9429562:1",
        "3e11fa47-71ca-11e1-9e33-c80aa942956é:1",
        &format!("{A}:{}:1", "t".repeat(33)),
    ] {
        assert!(text.parse::<GtidSet>().is_err(), "{text:?} was taken");
    }
    assert!(format!("{A}:9223372036854775806").parse::<GtidSet>().is_ok());
    assert!(format!("{A}:{}:1", "t".repeat(32)).parse::<GtidSet>().is_ok());
}

#[test]
fn a_gtid_prints_as_it_was_written() {
    for text in [format!("{A}:23"), format!("{A}:tag:23")] {
        let gtid: Gtid = text.parse().unwrap();
        assert_eq!((gtid.to_string(), gtid.gno()), (text, 23));
    }
    for text in [
        A,
        "23",
        &format!("{A}:0"),
        &format!("{A}:tag"),
        &format!("{A}:1-2"),
        &format!("{A}:a:b:1"),
    ] {
        assert!(text.parse::<Gtid>().is_err(), "{text:?} was taken");
    }
}

#[test]
fn a_tag_makes_it_another_transaction() {
    let executed = set(&format!("{A}:1-5:tag:7"));
    assert!(executed.contains(&format!("{A}:tag:7").parse().unwrap()));
    assert!(!executed.contains(&format!("{A}:7").parse().unwrap()));
    assert!(!executed.contains(&format!("{A}:tag:1").parse().unwrap()));
    assert_eq!(executed.difference(&set(&format!("{A}:1-9"))), set(&format!("{A}:tag:7")));
}

/// Few servers, few tags, small numbers: everything touches everything.
pub(in crate::coordinates) fn any_gtid() -> impl Strategy<Value = Gtid> {
    (0..2u8, prop::option::of("[ab]"), 1..24u64).prop_map(|(server, tag, gno)| {
        let tag = tag.map(|tag| tag.parse().unwrap());
        Gtid::new(Uuid::from_bytes([server * 0xe1; 16]), tag, gno).unwrap()
    })
}

fn any_model() -> impl Strategy<Value = BTreeSet<Gtid>> {
    prop::collection::btree_set(any_gtid(), 0..60)
}

fn set_of<'a>(model: impl IntoIterator<Item = &'a Gtid>) -> GtidSet {
    model.into_iter().cloned().collect()
}

/// The invariant: sorted, disjoint, not adjacent, nowhere empty.
fn is_normal(set: &GtidSet) -> bool {
    set.0.values().all(|intervals| !intervals.is_empty() && intervals.is_normal())
}

proptest! {
    #[test]
    fn a_printed_set_is_read_back(model in any_model()) {
        let set = set_of(&model);
        prop_assert_eq!(set.to_string().parse::<GtidSet>().unwrap(), set.clone());
        prop_assert_eq!(set.to_string().to_uppercase().replace(',', " ,\n").parse::<GtidSet>().unwrap(), set);
    }

    #[test]
    fn a_printed_gtid_is_read_back(gtid in any_gtid()) {
        prop_assert_eq!(gtid.to_string().parse::<Gtid>().unwrap(), gtid);
    }

    #[test]
    fn insertion_in_any_order_makes_the_same_set(gtids in prop::collection::vec(any_gtid(), 0..60)) {
        let mut set = GtidSet::new();
        let mut model = BTreeSet::new();
        for gtid in gtids {
            prop_assert_eq!(set.insert(gtid.clone()), model.insert(gtid));
            prop_assert!(is_normal(&set));
        }
        prop_assert_eq!(&set, &set_of(&model));
        prop_assert_eq!(set.is_empty(), model.is_empty());
    }

    #[test]
    fn the_algebra_is_that_of_plain_sets(left in any_model(), right in any_model(), gtid in any_gtid()) {
        let (one, other) = (set_of(&left), set_of(&right));
        let (union, difference) = (one.union(&other), one.difference(&other));
        prop_assert!(is_normal(&union) && is_normal(&difference));
        prop_assert_eq!(&union, &set_of(left.union(&right)));
        prop_assert_eq!(&difference, &set_of(left.difference(&right)));
        prop_assert_eq!(one.is_subset_of(&other), left.is_subset(&right));
        prop_assert!(difference.is_subset_of(&one) && one.is_subset_of(&union));
        prop_assert_eq!(one.contains(&gtid), left.contains(&gtid));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "[0-9a-f:,\\- \n\\PC]{0,80}") {
        let _ = text.parse::<GtidSet>();
        let _ = text.parse::<Gtid>();
        let _ = text.parse::<Uuid>();
    }
}
