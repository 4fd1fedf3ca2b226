//! GTIDs: sets and positions as people and servers write them, and the events that carry them.

use mysql_binlog::coordinates::{Coordinates, Gtid, GtidSet, StartFrom};
use mysql_binlog::write::body;

use super::{KIB, Limit, Target};

/// One origin of a set takes 24 bytes or more of an input. In memory, it takes up to a node of a tree, which has room for
/// eleven.
const LIMIT: Limit = Limit::new(8 * KIB, 128);

/// A text: a GTID, a set, coordinates, or where to start from.
pub const TEXT: Target = Target { name: "gtid_text", run: text, seeds: text_seeds, limit: LIMIT };

/// First byte: the type of the event, 33, 34 or 42. The rest is its body.
pub const EVENT: Target =
    Target { name: "gtid_event", run: event, seeds: event_seeds, limit: LIMIT };

/// The body of a PREVIOUS_GTIDS event.
pub const PREVIOUS: Target =
    Target { name: "previous_gtids", run: previous, seeds: previous_seeds, limit: LIMIT };

const SETS: [&str; 6] = [
    "",
    "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
    "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:9-12,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:3",
    "3E11FA47-71CA-11E1-9E33-C80AA9429562:blue:1-3:red:7,3e11fa47-71ca-11e1-9e33-c80aa9429562:9",
    "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9223372036854775806",
    "3e11fa47-71ca-11e1-9e33-c80aa9429562:9223372036854775806:1:3:5:7:9:11:13:15:17:19:21:23:25:27",
];

fn text(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(set) = text.parse::<GtidSet>() {
        use_set(&set);
    }
    if let Ok(gtid) = text.parse::<Gtid>() {
        assert_eq!(gtid.to_string().parse(), Ok(gtid));
    }
    if let Ok(coordinates) = text.parse::<Coordinates>() {
        assert_eq!(coordinates.to_string().parse(), Ok(coordinates));
    }
    if let Ok(start) = text.parse::<StartFrom>() {
        assert_eq!(start.to_string().parse(), Ok(start));
    }
}

/// What was read is printed so that it is read again, and its algebra holds.
fn use_set(set: &GtidSet) {
    assert_eq!(set.to_string().parse().as_ref(), Ok(set));
    assert!(set.is_subset_of(set) && set.difference(set).is_empty());
    assert_eq!(&set.union(set), set);
    let _ = set.in_short();
}

fn text_seeds() -> Vec<Vec<u8>> {
    let others = [
        "binlog.000012:4711",
        "mysql-bin.prod.1000000:5000000000",
        "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
        "earliest",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:23",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:blue:23",
    ];
    SETS.iter().chain(&others).map(|text| text.as_bytes().to_vec()).collect()
}

fn event(data: &[u8]) {
    let Some((event_type, body)) = data.split_first() else { return };
    let Ok(event) = Gtid::decode(*event_type, body) else { return };
    let Some(gtid) = event.gtid else { return };
    assert_eq!(gtid.to_string().parse().as_ref(), Ok(&gtid));
    let mut set = GtidSet::new();
    assert!(set.insert(gtid.clone()) && set.contains(&gtid) && !set.insert(gtid));
    use_set(&set);
}

fn event_seeds() -> Vec<Vec<u8>> {
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562".parse().expect("a UUID");
    let plain = |committed_at| body::gtid(uuid, 23, committed_at);
    // Version 1, size, last field that matters; flags, UUID, number, tag, the logical clock, commit time.
    let mut tagged = vec![42, 2, 100, 24, 0, 2, 2];
    tagged.extend([0x7c, 0x22, 0x55, 0x03].repeat(4));
    tagged.extend([
        4,
        46 << 1,
        6,
        8,
        b'b',
        b'l',
        b'u',
        b'e',
        8,
        2,
        10,
        4,
        12,
        0xbf,
        1,
        2,
        3,
        4,
        5,
        6,
    ]);
    vec![
        [vec![33], plain(None)].concat(),
        [vec![33], plain(Some(1_700_000_000_000_000))].concat(),
        [vec![34], plain(Some(1_700_000_000_000_000))].concat(),
        tagged,
    ]
}

fn previous(data: &[u8]) {
    if let Ok(set) = GtidSet::decode_previous_gtids(data) {
        use_set(&set);
    }
}

fn previous_seeds() -> Vec<Vec<u8>> {
    let untagged = SETS.iter().filter(|text| !text.contains("blue"));
    let sets = untagged.map(|text| text.parse().expect("a set"));
    let mut seeds: Vec<Vec<u8>> = sets.map(|set: GtidSet| body::previous_gtids(&set)).collect();
    // The tagged format: one origin; UUID, tag, one interval.
    let mut tagged = vec![1, 1, 0, 0, 0, 0, 0, 1];
    tagged.extend([7; 16]);
    tagged.extend(b"\x08blue");
    tagged.extend([1_u64, 1, 6].iter().flat_map(|number| number.to_le_bytes()));
    seeds.push(tagged);
    seeds
}
