//! `checkpoint set` and `checkpoint reset`: a person says where the relay resumes.
//!
//! A position is stored only if it is on the server and no relay of this name is running (or `--force` allows to fence
//! it), and after the consequences were printed. All transactional ids are initialised first. So any other writer
//! fails, also one that was not noticed.

use std::cmp::Ordering;
use std::io::Write;

use super::stamp::Stamp;
use super::{line, recovery, running, takeover};
use crate::binlog::server::BinlogFile;
use crate::binlog::{self, Position, Server, Start, start};
use crate::checkpoint::{Checkpoint, CheckpointOptions};
use crate::config::Config;
use crate::connect;
use crate::coordinates::{Coordinates, GtidSet, StartFrom, Uuid};
use crate::delivery::Delivery;
use crate::error::Error;
use crate::failpoint::failpoint;
use crate::outbox;
use crate::primary::{MySql, Primaries, mysql};
use crate::sink::{About, Connector, SinkError};

/// How often to fence a running relay again. It starts a new session and fences us, until it sees our checkpoint.
const ATTEMPTS_BY_FORCE: usize = 3;

/// Stores another position, after printing the consequences to `out`. With `force`, also while a relay of this name
/// may be running.
///
/// # Errors
/// The position is not on the server, a relay is running, or an end cannot be asked.
pub async fn set_checkpoint(
    config: &Config,
    to: &StartFrom,
    force: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let failed = |source: binlog::Error| connect::binlog_error(config, source);
    let (mut server, identity) = MySql(config).look().await?;
    server.forget_ahead();
    let start = start::resolve(&mut server, &identity, to).await;
    let start =
        start.map_err(|e| connect::start_error(config, start::Origin::To(to.clone()), e))?;
    let (topics, cluster_id) = config.kafka.reach_checkpoint_topic().await?;
    let files = server.binlog_files().await.map_err(|e| failed(e.into()))?;
    let (position, is_boundary) = find_position(config, server, start).await.map_err(failed)?;
    if !force {
        // Directly before the fence, since finding the position can take long.
        let (mut server, _) = connect::connect_mysql(config).await?;
        running::ensure_absent(config, &mut server, &cluster_id).await?;
    }
    let target = Target {
        position,
        is_boundary,
        is_by_gtids: matches!(to, StartFrom::Gtid(_)),
        set_bytes_max: line::set_bytes_max(topics.checkpoint_bytes_max()),
        server_uuid: identity.server_uuid,
        files,
        instance: uuid::Uuid::new_v4().to_string(),
    };
    let owner = until_not_fenced(config, force, async || store(config, &target, out).await).await?;
    say_done(out, "stored");
    if force {
        end_dumps(config, owner, &cluster_id).await;
    }
    Ok(())
}

/// Deletes the checkpoint, after printing the consequences to `out`. With `force`, also while a relay of this name may
/// be running.
///
/// # Errors
/// There is none, a relay is running, or an end cannot be asked.
pub async fn reset_checkpoint(
    config: &Config,
    force: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    if let Err(SinkError { about: About::NoStore, .. }) = config.kafka.look().await {
        return Err(no_checkpoint(config));
    }
    let (_, cluster_id) = config.kafka.reach().await?;
    if !force {
        ensure_absent_by_mysql(config, &cluster_id).await?;
    }
    let owner = until_not_fenced(config, force, async || forget(config, out).await).await?;
    say_done(out, "forgotten");
    if force {
        end_dumps(config, owner, &cluster_id).await;
    }
    Ok(())
}

/// A position that was found on the server.
struct Target {
    position: Position,
    is_boundary: bool,
    /// The position is where the search for the GTID set begins, not where the set ends.
    is_by_gtids: bool,
    /// Longest text of a GTID set that the checkpoint topic takes.
    set_bytes_max: usize,
    server_uuid: Uuid,
    files: Vec<BinlogFile>,
    instance: String,
}

/// Completes a resolved start: whether it is a boundary, and every GTID before it. To find out, this reads the binlog
/// file up to that position, under a replica id of its own.
async fn find_position(
    config: &Config,
    server: Server,
    start: Start,
) -> Result<(Position, bool), binlog::Error> {
    let asked = start.position();
    if start.start_offset.is_none() {
        return Ok((asked, true));
    }
    let mut source =
        mysql::open_without_rows(&config.mysql, &mysql::replica_of_nobody(), start, server).await?;
    let reached = source.reach_start().await.cloned();
    mysql::close(source).await;
    let reached = reached?;
    let is_boundary = reached.coordinates >= asked.coordinates;
    Ok((if is_boundary { reached } else { asked }, is_boundary))
}

/// Returns the name of the relay that owned the checkpoint, if that was another one.
async fn store(
    config: &Config,
    target: &Target,
    out: &mut dyn Write,
) -> Result<Option<String>, Error> {
    let writer = config.kafka.fence().await?;
    let (stored, owner) = read_fenced(config).await?;
    let checkpoint = target.checkpoint(config, stored.checkpoint());
    let consequence = consequence(stored.checkpoint(), target);
    let Checkpoint { generation, .. } = checkpoint;
    let text = format!(
        "stored now: {stored}\nto be stored: {}, generation {}, sequence 0\n{consequence}\n",
        target.position.coordinates,
        generation.unwrap_or_default(),
    );
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Print)?;
    failpoint!("command-fenced");
    writer.store(checkpoint.clone()).await?;
    failpoint!("command-stored");
    match read(config).await? {
        Stored::Checkpoint(is) if *is == checkpoint => Ok(owner),
        is => Err(Error::NotReadBack { is: is.to_string() }),
    }
}

/// Returns the same as [`store`].
async fn forget(config: &Config, out: &mut dyn Write) -> Result<Option<String>, Error> {
    let writer = config.kafka.fence().await?;
    let (stored, owner) = read_fenced(config).await?;
    if matches!(stored, Stored::None) {
        return Err(no_checkpoint(config));
    }
    let (generation, now) = (stored.generation(), recovery::now_millis());
    if generation >= now {
        return Err(Error::ClockBehind { generation, now });
    }
    let next = match &config.start_from {
        Some(from) => {
            format!("the next start begins at [mysql] start_from = \"{from}\", in a new generation")
        }
        None => "the next start needs [mysql] start_from, which is not configured".to_owned(),
    };
    let text = format!("stored now: {stored}\n{next}\n");
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Print)?;
    failpoint!("command-fenced");
    writer.forget().await?;
    failpoint!("command-stored");
    match read(config).await? {
        Stored::None => Ok(owner),
        is => Err(Error::NotReadBack { is: is.to_string() }),
    }
}

async fn until_not_fenced<T>(
    config: &Config,
    force: bool,
    mut attempt: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut left = if force { ATTEMPTS_BY_FORCE } else { 1 };
    loop {
        left -= 1;
        match attempt().await {
            Err(error) if is_fenced(&error) && left > 0 => {
                tracing::info!("a running relay fenced us before it was stored: trying again");
            }
            Err(error) if is_fenced(&error) => {
                return Err(Error::TakenBack { name: config.name.clone() });
            }
            done => return done,
        }
    }
}

fn is_fenced(error: &Error) -> bool {
    matches!(error, Error::Sink(error) if error.is_fenced())
}

/// A line that cannot be printed does not undo what was done.
fn say_done(out: &mut dyn Write, done: &str) {
    if let Err(error) = writeln!(out, "{done}") {
        tracing::warn!(%error, "{done}, but standard output did not take it");
    }
}

/// Deleting the checkpoint does not need MySQL. But only MySQL can tell whether a relay is running.
async fn ensure_absent_by_mysql(config: &Config, cluster_id: &str) -> Result<(), Error> {
    let looked = match Server::connect(&config.mysql).await {
        Ok(mut server) => running::ensure_absent(config, &mut server, cluster_id).await,
        Err(source) => Err(connect::binlog_error(config, source.into())),
    };
    looked.map_err(|error| match error {
        error @ Error::Binlog { .. } => {
            Error::NotTold { name: config.name.clone(), source: Box::new(error) }
        }
        error => error,
    })
}

async fn end_dumps(config: &Config, owner: Option<String>, cluster_id: &str) {
    let mysql = MySql(config);
    mysql.end_dump(&connect::replica(config, cluster_id)).await;
    if let Some(owner) = owner {
        mysql.end_dump(&connect::replica_named(config, &owner, cluster_id)).await;
    }
}

fn no_checkpoint(config: &Config) -> Error {
    let CheckpointOptions { topic, key } = config.kafka.checkpoint.clone();
    Error::NoCheckpoint { key, topic }
}

/// What is stored.
#[derive(PartialEq)]
enum Stored {
    None,
    /// What is wrong with the record of the key, if it is no checkpoint.
    Unreadable(String),
    Checkpoint(Box<Checkpoint>),
}

/// Reads the stored checkpoint, once neither a relay of this name nor the checkpoint's owner can write any more. Also
/// returns the owner's name, if it is another one.
async fn read_fenced(config: &Config) -> Result<(Stored, Option<String>), Error> {
    let stored = read(config).await?;
    let owner_of = |stored: &Stored| connect::other_owner(config, stored.checkpoint());
    takeover::until_unchanged(config, stored, owner_of, async |owner| {
        config.kafka.fence_other(owner).await?;
        read(config).await
    })
    .await
}

async fn read(config: &Config) -> Result<Stored, Error> {
    match config.kafka.stored().await {
        Ok(None) => Ok(Stored::None),
        Ok(Some(checkpoint)) => Ok(Stored::Checkpoint(Box::new(checkpoint))),
        Err(SinkError { about: About::Unreadable(what), .. }) => Ok(Stored::Unreadable(what)),
        Err(error) => Err(error.into()),
    }
}

impl Stored {
    /// 0 where there is none.
    fn generation(&self) -> u64 {
        self.checkpoint().and_then(|checkpoint| checkpoint.generation).unwrap_or_default()
    }

    fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Stored::Checkpoint(checkpoint) => Some(checkpoint),
            Stored::None | Stored::Unreadable(_) => None,
        }
    }
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let checkpoint = match self {
            Stored::None => return f.write_str("none"),
            Stored::Unreadable(what) => return f.write_str(what),
            Stored::Checkpoint(checkpoint) => checkpoint,
        };
        write!(f, "{}:{}", checkpoint.binlog_filename, checkpoint.offset)?;
        if checkpoint.rows_done > 0 {
            write!(f, " and {} rows of the transaction there", checkpoint.rows_done)?;
        }
        if let Some(generation) = checkpoint.generation {
            write!(f, ", generation {generation}, sequence {}", checkpoint.sequence)?;
        }
        match &checkpoint.recorded_at {
            Some(at) => write!(f, ", written {at}"),
            None => Ok(()),
        }
    }
}

impl Target {
    fn checkpoint(&self, config: &Config, stored: Option<&Checkpoint>) -> Checkpoint {
        let last = stored.and_then(|stored| stored.generation).unwrap_or_default();
        let stamp = Stamp {
            name: config.name.clone(),
            server_uuid: self.server_uuid.to_string(),
            generation: recovery::now_millis().max(last + 1),
            instance: self.instance.clone(),
            outbox_fingerprint: outbox::fingerprint(&config.outbox),
            // Kafka has no record of a new generation yet.
            delivery: Delivery::ExactlyOnce,
        };
        let mut checkpoint = Checkpoint {
            server_uuid: Some(stamp.server_uuid.clone()),
            generation: Some(stamp.generation),
            ..Checkpoint::position(&self.position, 0, None)
        };
        if !self.is_by_gtids {
            // The position is enough: the next start finds the set again in the binlog file.
            checkpoint.gtid_set.take_if(|set| set.len() > self.set_bytes_max);
        }
        stamp.sign(checkpoint, None)
    }
}

/// What the next start does, in words.
fn consequence(stored: Option<&Checkpoint>, target: &Target) -> String {
    let new = &target.position;
    let how = match (target.is_by_gtids, target.is_boundary) {
        (true, _) => " and passes over the transactions of the GTID set",
        (false, true) => "",
        (false, false) => ", inside a transaction, and passes over what ends there or before",
    };
    let what = match stored {
        None => "nothing was stored: rows before it are not relayed".to_owned(),
        Some(stored) if target.is_by_gtids => difference_of_gtids(stored, new),
        Some(stored) => difference_in_bytes(stored, target),
    };
    format!("the next start reads on at {}{how}: {what}", new.coordinates)
}

fn difference_of_gtids(stored: &Checkpoint, new: &Position) -> String {
    let was: Option<GtidSet> = stored.gtid_set.as_deref().and_then(|set| set.parse().ok());
    let (Some(was), Some(is)) = (was, &new.gtid_set) else {
        return "which of them were relayed already is not known, as the stored checkpoint has no GTID set"
            .to_owned();
    };
    let (again, left_out) = (was.difference(is), is.difference(&was));
    match (again.is_empty(), left_out.is_empty()) {
        (true, true) => "nothing is relayed again and nothing left out".to_owned(),
        (false, true) => {
            format!(
                "{} were relayed already and are relayed again, in a new generation",
                again.in_short()
            )
        }
        (true, false) => {
            format!("{} are left out: rows in them are not relayed", left_out.in_short())
        }
        (false, false) => format!(
            "{} were relayed already and are relayed again, in a new generation; {} are left out: \
             rows in them are not relayed",
            again.in_short(),
            left_out.in_short()
        ),
    }
}

fn difference_in_bytes(stored: &Checkpoint, target: &Target) -> String {
    let uuid = target.server_uuid.to_string();
    let is_same_server = stored.server_uuid.as_deref().is_none_or(|was| was == uuid);
    let was = stored.resume().ok().map(|resume| resume.coordinates);
    let is = &target.position.coordinates;
    let distance = was.filter(|_| is_same_server).and_then(|was| {
        let order = is.partial_cmp(&was)?;
        let bytes = match order {
            Ordering::Less => bytes_between(&target.files, is, &was),
            _ => bytes_between(&target.files, &was, is),
        };
        Some((order, bytes?))
    });
    match distance {
        None => {
            "the stored position is not on this server, so how far the two are apart is not known"
                .to_owned()
        }
        Some((Ordering::Less, bytes)) => format!(
            "{bytes} bytes of binlog that were relayed already are relayed again, in a new generation"
        ),
        Some((Ordering::Greater, bytes)) => {
            format!("{bytes} bytes of binlog are left out: rows in them are not relayed")
        }
        Some((Ordering::Equal, _)) if stored.rows_done > 0 => format!(
            "{} rows of the transaction there that were relayed already are relayed again, in a new generation",
            stored.rows_done
        ),
        Some((Ordering::Equal, _)) => {
            "nothing is relayed again and nothing left out; a new generation begins".to_owned()
        }
    }
}

/// Bytes from one position to a later one; `None` if the server does not have all of them.
fn bytes_between(files: &[BinlogFile], from: &Coordinates, to: &Coordinates) -> Option<u64> {
    let index = |position: &Coordinates| files.iter().position(|file| file.name == position.file());
    let (first, last) = (index(from)?, index(to)?);
    let whole: u64 = files.get(first..last)?.iter().map(|file| file.size_bytes).sum();
    whole.checked_add(to.offset)?.checked_sub(from.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(position: &str) -> Target {
        let file = |name: &str, size_bytes| BinlogFile { name: name.to_owned(), size_bytes };
        Target {
            position: Position {
                coordinates: position.parse().unwrap(),
                gtid_set: None,
                file_timestamp: None,
            },
            is_boundary: true,
            is_by_gtids: false,
            set_bytes_max: 100,
            server_uuid: SERVER.parse().unwrap(),
            files: vec![file("b.000002", 1_000), file("b.000003", 500), file("b.000004", 300)],
            instance: "i".to_owned(),
        }
    }

    const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn stored(file: &str, offset: u64, gtid_set: Option<&str>) -> Checkpoint {
        Checkpoint {
            binlog_filename: file.to_owned(),
            offset,
            gtid_set: gtid_set.map(str::to_owned),
            server_uuid: Some(SERVER.to_owned()),
            ..Checkpoint::default()
        }
    }

    fn by_gtids(set: &str) -> Target {
        let mut target = target("b.000002:4");
        target.position.gtid_set = Some(set.parse().unwrap());
        Target { is_by_gtids: true, ..target }
    }

    #[test]
    fn it_is_said_how_much_is_relayed_again_or_left_out() {
        let words = |stored: &Checkpoint, target: &Target| consequence(Some(stored), target);
        let back = words(&stored("b.000004", 200, None), &target("b.000002:900"));
        assert_eq!(
            back,
            "the next start reads on at b.000002:900: 800 bytes of binlog that were relayed already are relayed \
             again, in a new generation"
        );
        let on = words(&stored("b.000003", 200, None), &target("b.000003:300"));
        assert!(
            on.ends_with(": 100 bytes of binlog are left out: rows in them are not relayed"),
            "{on}"
        );
        let same = words(&stored("b.000003", 200, None), &target("b.000003:200"));
        assert!(same.contains("nothing is relayed again and nothing left out"), "{same}");
        let part = Checkpoint { rows_done: 7, ..stored("b.000003", 200, None) };
        let part = words(&part, &target("b.000003:200"));
        assert!(part.contains(": 7 rows of the transaction there that were relayed"), "{part}");
        let none = consequence(None, &target("b.000003:200"));
        assert!(none.ends_with("nothing was stored: rows before it are not relayed"), "{none}");
        let inside = Target { is_boundary: false, ..target("b.000003:250") };
        let inside = words(&stored("b.000003", 200, None), &inside);
        assert!(inside.contains("inside a transaction"), "{inside}");
    }

    #[test]
    fn what_cannot_be_measured_is_not_guessed() {
        let elsewhere = Checkpoint {
            server_uuid: Some("4e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned()),
            ..stored("b.000003", 200, None)
        };
        for stored in [elsewhere, stored("b.000001", 200, None), stored("other.000003", 4, None)] {
            let words = consequence(Some(&stored), &target("b.000003:300"));
            assert!(words.contains("the stored position is not on this server"), "{words}");
        }
    }

    #[test]
    fn gtid_sets_are_held_against_each_other() {
        let set = |interval: &str| format!("{SERVER}:{interval}");
        let words = |was: Option<&str>, is: &str| {
            let was = was.map(set);
            consequence(Some(&stored("b.000003", 4, was.as_deref())), &by_gtids(&set(is)))
        };
        let back = words(Some("1-9"), "1-5");
        assert!(back.contains(&format!("{} were relayed already and are", set("6-9"))), "{back}");
        let on = words(Some("1-5"), "1-9");
        assert!(on.contains(&format!("{} are left out", set("6-9"))), "{on}");
        let both = words(Some("1-5"), "3-9");
        assert!(both.contains(&set("1-2")) && both.contains(&set("6-9")), "{both}");
        assert!(words(Some("1-5"), "1-5").contains("nothing is relayed again"));
        assert!(words(None, "1-5").contains("is not known"));
    }

    fn config() -> Config {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
        let password = ["mysql.password=x".to_owned()];
        Config::load(&path, &password).unwrap()
    }

    #[test]
    fn a_set_that_the_topic_does_not_take_is_left_out_unless_it_is_the_place() {
        let gtid_set = |numbers: &str, is_by_gtids: bool| {
            let target = Target { is_by_gtids, ..by_gtids(&format!("{SERVER}:{numbers}")) };
            target.checkpoint(&config(), None).gtid_set
        };
        let long = (1..50).map(|n| (2 * n).to_string()).collect::<Vec<_>>().join(":");
        assert!(gtid_set("1-5", false).is_some() && gtid_set("1-5", true).is_some());
        assert!(gtid_set(&long, false).is_none() && gtid_set(&long, true).is_some());
    }

    #[test]
    fn a_generation_only_grows() {
        let later = 4_000_000_000_000;
        let stored = Checkpoint { generation: Some(later), ..stored("b.000003", 4, None) };
        let next = target("b.000003:4").checkpoint(&config(), Some(&stored));
        assert_eq!(next.generation, Some(later + 1));
        let first = target("b.000003:4").checkpoint(&config(), None).generation.unwrap();
        assert!((1_500_000_000_000..later).contains(&first), "{first}");
    }
}
