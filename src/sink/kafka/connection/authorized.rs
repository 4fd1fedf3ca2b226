//! Which operations the brokers allow the relay's principal on a topic (KIP-430), asked by DescribeTopics.
//!
//! rdkafka 0.39 has no safe call for it, so this file calls librdkafka. It can go when rdkafka has one. It cannot go
//! without: `run` and `check` both need the answer before anything is written.
//! - In `idempotent` delivery the right to read a destination is used only after a crash. Without it the relay would
//!   find out then, with records in flight and no way to tell which of them arrived.
//! - The error of a refused transaction does not name its topic. Here topic and operation are known.
//! - The only other way to find out is to use the right: to write a record, which consumers would see.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};

use rdkafka::bindings as native;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaAdminOp;

use super::{Admin, REQUEST_TIMEOUT};

/// An operation on a topic that the relay needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    Describe,
}

impl Operation {
    /// The name that Kafka's own tools use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Read => "Read",
            Operation::Write => "Write",
            Operation::Describe => "Describe",
        }
    }

    fn code(self) -> u32 {
        use native::rd_kafka_AclOperation_t as Code;
        let code = match self {
            Operation::Read => Code::RD_KAFKA_ACL_OPERATION_READ,
            Operation::Write => Code::RD_KAFKA_ACL_OPERATION_WRITE,
            Operation::Describe => Code::RD_KAFKA_ACL_OPERATION_DESCRIBE,
        };
        code as u32
    }
}

/// The operations on a topic that the brokers allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized(Vec<u32>);

impl Authorized {
    #[must_use]
    pub fn allows(&self, operation: Operation) -> bool {
        self.0.contains(&operation.code())
    }
}

/// Asks which operations on one topic are allowed; `None` if the brokers do not tell. Blocks for up to
/// [`REQUEST_TIMEOUT`].
///
/// # Errors
/// The topic is not there or may not be seen, or no broker answers.
pub fn authorized(client: &Admin, topic: &str) -> Result<Option<Authorized>, KafkaError> {
    let name = CString::new(topic).map_err(|_| failed(RDKafkaErrorCode::InvalidTopic))?;
    let names = TopicNames::new(&name);
    let client = client.inner().native_ptr();
    let options = KafkaOptions::new(client)?;
    let queue = Queue::new(client);
    // SAFETY: the client outlives this call, since it is borrowed by it; collection, options and queue are
    // alive until the end of this function, and librdkafka copies what it needs of the first two.
    unsafe {
        native::rd_kafka_DescribeTopics(
            client,
            names.0.as_ptr(),
            options.0.as_ptr(),
            queue.0.as_ptr(),
        );
    }
    let event = queue.poll().ok_or_else(|| failed(RDKafkaErrorCode::RequestTimedOut))?;
    event.first_topic()
}

fn failed(code: RDKafkaErrorCode) -> KafkaError {
    KafkaError::AdminOp(code)
}

/// One topic name, as librdkafka's collection of them.
struct TopicNames(NonNull<native::rd_kafka_TopicCollection_t>);

impl TopicNames {
    fn new(name: &CStr) -> TopicNames {
        let mut names = [name.as_ptr()];
        // SAFETY: the array has one C string, and is only read during the call, which copies the string.
        let collection =
            unsafe { native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1) };
        TopicNames(NonNull::new(collection).expect("librdkafka aborts where it has no memory"))
    }
}

impl Drop for TopicNames {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed only here.
        unsafe { native::rd_kafka_TopicCollection_destroy(self.0.as_ptr()) }
    }
}

struct KafkaOptions(NonNull<native::rd_kafka_AdminOptions_t>);

impl KafkaOptions {
    /// `client` is a live client's pointer.
    fn new(client: *mut native::rd_kafka_t) -> Result<KafkaOptions, KafkaError> {
        let operation = RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: the client is alive.
        let options = unsafe { native::rd_kafka_AdminOptions_new(client, operation) };
        let options =
            NonNull::new(options).ok_or_else(|| failed(RDKafkaErrorCode::InvalidArgument))?;
        let options = KafkaOptions(options);
        let timeout = c_int::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(c_int::MAX);
        let mut text: [c_char; 256] = [0; 256];
        // SAFETY: the options are alive; the buffer is as long as it is said to be.
        let code = unsafe {
            native::rd_kafka_AdminOptions_set_request_timeout(
                options.0.as_ptr(),
                timeout,
                text.as_mut_ptr(),
                text.len(),
            )
        };
        match code {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            code => return Err(failed(code.into())),
        }
        // SAFETY: the options are alive; the error that comes back, if any, is ours to free, and null is
        // accepted by the function that does it.
        unsafe {
            let error = native::rd_kafka_AdminOptions_set_include_authorized_operations(
                options.0.as_ptr(),
                1,
            );
            native::rd_kafka_error_destroy(error);
        }
        Ok(options)
    }
}

impl Drop for KafkaOptions {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed only here.
        unsafe { native::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

struct Queue(NonNull<native::rd_kafka_queue_t>);

impl Queue {
    /// `client` is a live client's pointer.
    fn new(client: *mut native::rd_kafka_t) -> Queue {
        // SAFETY: the client is alive.
        let queue = unsafe { native::rd_kafka_queue_new(client) };
        Queue(NonNull::new(queue).expect("librdkafka aborts where it has no memory"))
    }

    /// Waits for the answer. After the request's timeout librdkafka itself answers with an error, so wait for one
    /// second more.
    fn poll(&self) -> Option<Event> {
        let timeout = c_int::try_from(REQUEST_TIMEOUT.as_millis() + 1000).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive; the event that comes back is ours to free.
        let event = unsafe { native::rd_kafka_queue_poll(self.0.as_ptr(), timeout) };
        NonNull::new(event).map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed only here. An answer that is still to come holds a reference of its own.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

struct Event(NonNull<native::rd_kafka_event_t>);

impl Event {
    fn first_topic(&self) -> Result<Option<Authorized>, KafkaError> {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive. The result and all that is reached from it belong to the event, and are
        // read before it is dropped; the topics are an array of `count` pointers to live descriptions. A
        // result of another kind comes back as null.
        unsafe {
            let code = native::rd_kafka_event_error(event);
            if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(failed(code.into()));
            }
            let result = native::rd_kafka_event_DescribeTopics_result(event);
            let mut count = 0;
            let topics = if result.is_null() {
                ptr::null_mut()
            } else {
                native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count)
            };
            if topics.is_null() || count == 0 {
                return Err(failed(RDKafkaErrorCode::InvalidArgument));
            }
            let topic = *topics;
            let error = native::rd_kafka_TopicDescription_error(topic);
            if !error.is_null() {
                match native::rd_kafka_error_code(error) {
                    native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                    code => return Err(failed(code.into())),
                }
            }
            let mut count = 0;
            let operations =
                native::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
            if operations.is_null() {
                return Ok(None);
            }
            // As numbers: a later librdkafka may know operations that this enumeration does not.
            let operations = std::slice::from_raw_parts(operations.cast::<u32>(), count);
            Ok((count > 0).then(|| Authorized(operations.to_vec())))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: from `poll`, freed only here.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}
