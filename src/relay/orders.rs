//! What a relay is told while it runs: to stop, or to go on with another configuration.
//!
//! Whoever started the relay says what is wanted, as a state and not as events: an order that is replaced before it is
//! carried out is simply not there any more. The relay compares it with the configuration in force, and reports what
//! became of it.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::error::Error;
use crate::telemetry::Reason;

/// What is wanted of a relay.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// It is to drain and stop.
    pub is_stop: bool,
    /// The configuration that it is to run with.
    pub config: Arc<Config>,
}

/// What became of a wanted configuration.
#[derive(Debug)]
pub enum Report {
    /// The relay runs with it.
    InForce(Arc<Config>),
    /// No session could begin with it, and the one before is in force again.
    Refused { config: Arc<Config>, error: Error },
}

/// What the relay does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It relays.
    Relay,
    /// It drains at the next transaction boundary, and goes on with another configuration.
    Reload,
    /// It drains and stops.
    Stop,
}

/// The relay's side of what it is told.
#[derive(Debug)]
pub struct Orders {
    wanted: watch::Receiver<Wanted>,
    reports: mpsc::UnboundedSender<Report>,
    in_force: Arc<Config>,
    /// The wanted configuration, where the one in force is that but for its outboxes.
    bridged_to: Option<Arc<Config>>,
    /// The last configuration that a session ran with, until one runs with the one in force.
    before: Option<Arc<Config>>,
    /// The last one that was refused.
    refused: Option<Arc<Config>>,
}

impl Orders {
    /// For a relay that starts with this configuration. The sender says what is wanted later; the receiver gets the
    /// reports.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
    ) -> (Orders, watch::Sender<Wanted>, mpsc::UnboundedReceiver<Report>) {
        let (want, wanted) = watch::channel(Wanted { is_stop: false, config: config.clone() });
        let (reports, reported) = mpsc::unbounded_channel();
        let (bridged_to, before, refused) = (None, None, None);
        (Orders { wanted, reports, in_force: config, bridged_to, before, refused }, want, reported)
    }

    /// The configuration that sessions run with.
    pub(super) fn in_force(&self) -> Arc<Config> {
        self.in_force.clone()
    }

    pub(super) fn order(&self) -> Order {
        self.order_of(&self.wanted.borrow())
    }

    pub(super) fn is_stop(&self) -> bool {
        self.wanted.borrow().is_stop
    }

    /// Waits for the order to stop.
    pub(super) async fn stopped(&mut self) {
        if self.wanted.wait_for(|wanted| wanted.is_stop).await.is_err() {
            never().await;
        }
    }

    /// Waits until the order is another one. Dropping the future loses nothing.
    pub(super) async fn differs_from(&mut self, order: Order) {
        let Orders { wanted, in_force, refused, .. } = self;
        let is_other = |wanted: &Wanted| compare(wanted, in_force, refused.as_ref()) != order;
        if wanted.wait_for(is_other).await.is_err() {
            never().await;
        }
    }

    /// Why the relay drains, where that is not because it stops.
    pub(super) fn reason(&self) -> Option<Reason> {
        let words = "the configuration was read again".to_owned();
        (!self.is_stop()).then_some(Reason { words, hint: None })
    }

    fn order_of(&self, wanted: &Wanted) -> Order {
        compare(wanted, &self.in_force, self.refused.as_ref())
    }

    fn wanted_config(&self) -> Option<Arc<Config>> {
        let wanted = self.wanted.borrow();
        (self.order_of(&wanted) == Order::Reload).then(|| wanted.config.clone())
    }

    /// At a boundary with a clean checkpoint, puts the wanted configuration in force. Returns `false` if there is none
    /// any more.
    pub(super) fn change_at_boundary(&mut self) -> bool {
        let Some(wanted) = self.wanted_config() else { return false };
        self.put_in_force(wanted);
        self.bridged_to = None;
        true
    }

    /// Between two sessions the checkpoint may stand where another configuration of `[[outbox]]` cannot go on. Puts all
    /// but that in force. Returns `false` if there is nothing to change now.
    pub(super) fn change_between_sessions(&mut self) -> bool {
        let Some(wanted) = self.wanted_config() else { return false };
        if self.bridged_to.as_ref().is_some_and(|to| Arc::ptr_eq(to, &wanted)) {
            return false;
        }
        if wanted.outbox == self.in_force.outbox {
            self.put_in_force(wanted);
            self.bridged_to = None;
        } else {
            let mut bridge = Config::clone(&wanted);
            bridge.outbox.clone_from(&self.in_force.outbox);
            let letters = &self.in_force.kafka.topics.dead_letter_topics;
            bridge.kafka.topics.dead_letter_topics.clone_from(letters);
            self.put_in_force(Arc::new(bridge));
            self.bridged_to = Some(wanted);
        }
        true
    }

    fn put_in_force(&mut self, config: Arc<Config>) {
        let before = std::mem::replace(&mut self.in_force, config);
        self.before.get_or_insert(before);
    }

    /// A session has begun with the configuration in force.
    pub(super) fn note_begun(&mut self) {
        if self.before.take().is_some() && self.bridged_to.is_none() {
            self.report(Report::InForce(self.in_force.clone()));
        }
    }

    /// No session could begin with the configuration in force. Puts the one before in force again, or gives the error
    /// back if there is none.
    pub(super) fn fall_back(&mut self, error: Error) -> Result<(), Error> {
        let Some(before) = self.before.take() else { return Err(error) };
        let failed = std::mem::replace(&mut self.in_force, before);
        let config = self.bridged_to.take().unwrap_or(failed);
        self.refused = Some(config.clone());
        self.report(Report::Refused { config, error });
        Ok(())
    }

    fn report(&self, report: Report) {
        // Nobody may listen: the relay of a test, or of a process that ends.
        drop(self.reports.send(report));
    }
}

fn compare(wanted: &Wanted, in_force: &Arc<Config>, refused: Option<&Arc<Config>>) -> Order {
    if wanted.is_stop {
        return Order::Stop;
    }
    let is = |config: &Arc<Config>| Arc::ptr_eq(config, &wanted.config);
    if is(in_force) || refused.is_some_and(is) { Order::Relay } else { Order::Reload }
}

/// Nobody can tell the relay anything any more.
async fn never() {
    std::future::pending().await
}
