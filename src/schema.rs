//! The SQL of each preset: its tables, the relay's user and rights, and as comments its rights in Kafka.
//!
//! The files are written for people to read and change. `mysql` takes each as it is, into the current database, and
//! twice without harm.

use crate::outbox::Preset;

/// The whole file of a preset.
#[must_use]
pub const fn sql(preset: Preset) -> &'static str {
    match preset {
        Preset::EventuateLocal => include_str!("sql/eventuate-local.sql"),
        Preset::EventuateTram => include_str!("sql/eventuate-tram.sql"),
        Preset::Outbox => include_str!("sql/outbox.sql"),
        Preset::MessageEvents => include_str!("sql/message-events.sql"),
        Preset::EventSourcing => include_str!("sql/event-sourcing.sql"),
        Preset::Custom => include_str!("sql/custom.sql"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the container demo runs when its data directory is made.
    const DEMO: &str = include_str!("../docker/mysql/eventuate.sql");

    /// Statements without comments, white space joined.
    fn statements(sql: &str) -> Vec<String> {
        let code: Vec<_> =
            sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let words = |statement: &str| statement.split_whitespace().collect::<Vec<_>>().join(" ");
        code.join("\n").split(';').map(words).filter(|text| !text.is_empty()).collect()
    }

    #[test]
    fn the_demo_makes_the_same_tables_and_grants_the_same_rights() {
        let demo = statements(DEMO);
        for preset in Preset::ALL.into_iter().filter(|preset| preset.has_writer()) {
            let statements = statements(sql(preset));
            assert!(statements.len() > 4, "{statements:?}");
            for statement in statements {
                // Its password is the demo's own.
                let is_same = demo.contains(&statement) || statement.starts_with("CREATE USER");
                assert!(is_same, "docker/mysql/eventuate.sql lacks: {statement}");
            }
        }
    }

    #[test]
    fn all_presets_grant_the_same_but_for_their_tables() {
        let rights = |preset| -> Vec<String> {
            let statements = statements(sql(preset)).into_iter();
            statements.filter(|text| !text.contains("TABLE") && !text.contains("SELECT")).collect()
        };
        let acls = |preset| sql(preset).split_once("kafka-acls.sh").unwrap().1;
        for preset in Preset::ALL {
            assert_eq!(rights(preset), rights(Preset::EventuateLocal), "{preset}");
            assert_eq!(acls(preset), acls(Preset::EventuateLocal), "{preset}");
        }
    }
}
