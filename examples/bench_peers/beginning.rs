//! A place in the binlog at which every peer can begin, again and again: the relay by its coordinates, Debezium
//! only where it stopped, so it is run once before.

use std::collections::HashMap;

use anyhow::{Context, Result};

use crate::debezium::{self, Guarantee, Stopped, Tuning};
use crate::peer::Peer;
use crate::shape::Shape;
use crate::site::Site;
use harness::scene::Scene;
use harness::sql::Coordinates;

pub struct Beginning {
    pub scene: Scene,
    pub shape: &'static dyn Shape,
    pub coordinates: Coordinates,
    stopped: HashMap<Guarantee, Stopped>,
}

impl Beginning {
    /// On tables of its own, which `prepare` may add to before Debezium looks at them.
    pub fn make(
        site: &Site,
        label: &str,
        shape: &'static dyn Shape,
        peers: &[Peer],
        tuning: Tuning,
        prepare: impl FnOnce(&Scene),
    ) -> Result<Beginning> {
        let scene = site.scene(label);
        shape.create(&scene);
        prepare(&scene);
        let mut stopped = HashMap::new();
        for guarantee in peers.iter().filter_map(|peer| peer.debezium()) {
            let state = debezium::run_once(&scene, shape, guarantee, tuning)
                .with_context(|| format!("Debezium, {}", guarantee.name()))?;
            stopped.insert(guarantee, state);
        }
        let mut sql = scene.sql();
        // The relay reads a file from its head where it is given a place, though not where it has a checkpoint.
        sql.run("FLUSH BINARY LOGS");
        let coordinates = sql.end_of_binlog();
        Ok(Beginning { scene, shape, coordinates, stopped })
    }

    pub fn stopped(&self, guarantee: Guarantee) -> &Stopped {
        self.stopped.get(&guarantee).expect("it was made for every peer that begins")
    }
}
