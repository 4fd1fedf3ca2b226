//! The orders to the publisher's thread, and its answers.

use std::sync::Arc;

use super::error::{Error, PublishError};
use crate::batch::DestinationId;
use crate::sink::{self, Answer, Published, Sealed, SinkError, Stored};

/// An order from the line to the thread.
#[derive(Debug)]
pub(crate) enum Order {
    LearnTopic {
        name: Arc<str>,
        /// Largest record batch that the broker takes, if we may know it.
        batch_bytes_max: Option<usize>,
        partitions: u32,
    },
    /// The topic has this many partitions now, which are more than before.
    GrowTopic {
        id: DestinationId,
        partitions: u32,
    },
    Publish(Box<Sealed>),
    /// Finish what is in flight, and end.
    Stop,
}

impl From<sink::Order> for Order {
    fn from(order: sink::Order) -> Order {
        match order {
            sink::Order::Publish(sealed) => Order::Publish(sealed),
            sink::Order::Stop => Order::Stop,
        }
    }
}

/// Sends an order to the thread. Returns `false` if the thread has ended.
pub(super) type GiveOrder = Arc<dyn Fn(Order) -> bool + Send + Sync>;

/// The way back to the line.
pub(crate) struct Answers {
    to: sink::Answers,
    brokers: String,
}

impl Answers {
    pub fn new(to: sink::Answers, brokers: String) -> Answers {
        Answers { to, brokers }
    }

    pub fn ready(&self) {
        self.to.send(Ok(Answer::Ready));
    }

    pub fn published(&self, published: Published) {
        self.to.send(Ok(Answer::Published(published)));
    }

    pub fn stored(&self, stored: Stored) {
        self.to.send(Ok(Answer::Stored(Box::new(stored))));
    }

    pub fn stalled(&self, error: PublishError) {
        self.to.send(Ok(Answer::Stalled(self.named(error))));
    }

    /// An error of the thread, with the addresses of the brokers.
    pub fn named(&self, error: PublishError) -> SinkError {
        Error::from(error).at(&self.brokers)
    }
}
