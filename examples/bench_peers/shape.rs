//! What is compared in each backlog: the table, the settings by which each peer makes its records of it, and how
//! those are read back.

use harness::consumer::Record;
use harness::relay::Outbox;
use harness::scene::Scene;

pub mod custom;
pub mod eventuate;
pub mod outbox;

pub trait Shape {
    /// Makes the tables that a scene does not have.
    fn create(&self, scene: &Scene);

    /// The topic of the backlog's records.
    fn topic(&self, scene: &Scene) -> String;

    /// What the relay is told.
    fn relay_outbox(&self, scene: &Scene) -> Outbox;

    /// What Debezium's connector is told of it, as lines of a properties file.
    fn debezium_settings(&self, scene: &Scene) -> String;

    /// The topic of [`Shape::first_row`], which is not that of the backlog.
    fn first_topic(&self, scene: &Scene, label: &str) -> String;

    /// The statement that inserts row `number` of those by which a peer is known to relay. The label is one of
    /// [`crate::debezium::Guarantee::label`].
    fn first_row(&self, scene: &Scene, label: &str, number: u32) -> String;

    /// The query for id, key and data of each row of the backlog, as [`Shape::id_and_data`] has them.
    fn written(&self, scene: &Scene) -> String;

    /// The row's id, and what all peers must write of it in the same form.
    fn id_and_data(&self, record: &Record) -> Option<(String, String)>;
}
