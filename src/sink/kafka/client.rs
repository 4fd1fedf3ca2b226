//! A producer with little overhead: it looks up a topic once, allocates nothing per record, and lets the waiting thread
//! read librdkafka's reports.
//!
//! For every record, rdkafka's `send` allocates the topic's name and a list of headers, and looks up the topic. Its
//! threaded producer wakes a thread for every report. So this file, and no other, calls librdkafka's producer functions
//! that rdkafka does not wrap.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_vu_s__bindgen_ty_1 as Field;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use super::connection::{self, ClientError};
use super::reports::{Context, Reports};
use super::sequence::SEQUENCE_HEADER;
use crate::batch::Headers;
use crate::tasks::in_this_span;

/// Time between two reads of the reports while a call of librdkafka waits for a broker.
const SERVE_INTERVAL: Duration = Duration::from_millis(5);

/// The name of the header as librdkafka takes it.
const HEADER_NAME: &CStr = c"relay-sequence";
const _: () = assert!(HEADER_NAME.count_bytes() == SEQUENCE_HEADER.len());

/// A list of headers has room for this many before it grows.
const HEADERS_ROOM: usize = 8;

/// A record to send.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// `None`: NULL.
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// `None`: the partition of the key.
    pub partition: Option<i32>,
    /// The value of the header `relay-sequence`, if it has one. It comes before all others.
    pub sequence: Option<&'a [u8]>,
    pub headers: Headers<'a>,
    /// Milliseconds since 1970; `None`: now.
    pub timestamp: Option<i64>,
    /// Comes back with the report.
    pub tag: usize,
}

/// A producer, and the callback for when it has something to report.
pub(super) struct Client<R: Reports> {
    queue: Queue<R>,
    producer: Arc<BaseProducer<Context<R>>>,
}

impl<R: Reports> Client<R> {
    /// Makes a producer. librdkafka calls `wake` on a thread of its own, holding a lock, whenever the empty queue of
    /// reports gets one. [`Client::serve`] reads it.
    ///
    /// # Errors
    /// The configuration is refused.
    pub fn new(
        config: &ClientConfig,
        context: Context<R>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Client<R>, ClientError> {
        let producer: BaseProducer<Context<R>> = connection::create(config, context)?;
        let producer = Arc::new(producer);
        let queue = Queue::of(producer.clone(), Box::new(wake));
        Ok(Client { queue, producer })
    }

    /// rdkafka's producer, for everything except sending.
    pub fn producer(&self) -> &BaseProducer<Context<R>> {
        &self.producer
    }

    /// A topic to send records to.
    ///
    /// # Errors
    /// librdkafka takes no topic of this name.
    pub fn topic(&self, name: &str) -> Result<Topic<R>, KafkaError> {
        let c_name = CString::new(name)?;
        let rk = self.producer.client().native_ptr();
        // SAFETY: the producer lives, the name ends with a NUL, and without a configuration of its own the topic
        // has that of the producer.
        let rkt = unsafe { native::rd_kafka_topic_new(rk, c_name.as_ptr(), ptr::null_mut()) };
        let refused = KafkaError::MessageProduction(RDKafkaErrorCode::InvalidTopic);
        let rkt = NonNull::new(rkt).ok_or(refused)?;
        Ok(Topic { rkt, name: name.into(), producer: self.producer.clone() })
    }

    /// Makes librdkafka hold back the records for these partitions, until they are released. It adds the partitions to
    /// the transaction meanwhile.
    ///
    /// # Errors
    /// librdkafka does not know the topic of one of them.
    pub fn hold<'a>(
        &self,
        partitions: impl Iterator<Item = (&'a Topic<R>, i32)>,
    ) -> Result<(), KafkaError> {
        self.of_partitions(partitions, native::rd_kafka_pause_partitions)
    }

    /// Sends the records that were held back for these partitions.
    ///
    /// # Errors
    /// As [`Client::hold`].
    pub fn release<'a>(
        &self,
        partitions: impl Iterator<Item = (&'a Topic<R>, i32)>,
    ) -> Result<(), KafkaError> {
        self.of_partitions(partitions, native::rd_kafka_resume_partitions)?;
        // Resuming wakes no thread, but a flush wakes all threads with a connection. This flush does not wait. A thread
        // without a connection looks once a second (`rd_kafka_max_block_ms`).
        // SAFETY: the producer lives.
        unsafe { native::rd_kafka_flush(self.producer.client().native_ptr(), 0) };
        Ok(())
    }

    fn of_partitions<'a>(
        &self,
        partitions: impl Iterator<Item = (&'a Topic<R>, i32)>,
        call: unsafe extern "C" fn(
            *mut native::rd_kafka_t,
            *mut native::rd_kafka_topic_partition_list_t,
        ) -> native::rd_kafka_resp_err_t,
    ) -> Result<(), KafkaError> {
        // SAFETY: the producer and the topics live, and the topics' names with them; the list is ours, has as many
        // elements as it says, and is given back once.
        let failed = unsafe {
            let list = native::rd_kafka_topic_partition_list_new(0);
            for (topic, partition) in partitions {
                let name = native::rd_kafka_topic_name(topic.rkt.as_ptr());
                native::rd_kafka_topic_partition_list_add(list, name, partition);
            }
            let mut failed = call(self.producer.client().native_ptr(), list);
            let count = usize::try_from((*list).cnt).expect("a list has no fewer than 0");
            for index in 0..count {
                match (*(*list).elems.add(index)).err {
                    native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                    error => failed = error,
                }
            }
            native::rd_kafka_topic_partition_list_destroy(list);
            RDKafkaErrorCode::from(failed)
        };
        match failed {
            RDKafkaErrorCode::NoError => Ok(()),
            failed => Err(KafkaError::PauseResume(failed.to_string())),
        }
    }

    /// Reads librdkafka's reports: acknowledgements, log lines, errors.
    pub fn serve(&self) {
        while self.queue.has_more() {
            self.producer.poll(Duration::ZERO);
        }
    }

    /// Makes a call that waits for a broker, and serves meanwhile, since a login may need that.
    pub fn serve_while<T>(&self, work: impl FnOnce(&BaseProducer<Context<R>>) -> T) -> T {
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let server = scope.spawn(in_this_span(|| {
                while !is_done.load(Ordering::Acquire) {
                    // Do not wait in `poll`, which spins for the last millisecond of its time.
                    self.serve();
                    std::thread::park_timeout(SERVE_INTERVAL);
                }
            }));
            let done = work(&self.producer);
            is_done.store(true, Ordering::Release);
            server.thread().unpark();
            done
        })
    }
}

/// A topic of one producer.
pub(super) struct Topic<R: Reports> {
    rkt: NonNull<native::rd_kafka_topic_t>,
    pub name: Arc<str>,
    /// It outlives the topic.
    producer: Arc<BaseProducer<Context<R>>>,
}

// SAFETY: topics of librdkafka are counted references behind locks, for any thread
// (<https://github.com/confluentinc/librdkafka/blob/master/INTRODUCTION.md#threads-and-callbacks>).
unsafe impl<R: Reports> Send for Topic<R> {}

impl<R: Reports> Topic<R> {
    /// Hands a record to librdkafka, which copies it. It never waits.
    ///
    /// # Errors
    /// librdkafka does not take it.
    pub fn send(&self, record: &Record<'_>) -> Result<(), KafkaError> {
        use native::rd_kafka_vtype_t as vtype;
        let mut fields = [
            field(vtype::RD_KAFKA_VTYPE_RKT, Field { rkt: self.rkt.as_ptr() }),
            field(vtype::RD_KAFKA_VTYPE_MSGFLAGS, Field { i: native::RD_KAFKA_MSG_F_COPY }),
            field(vtype::RD_KAFKA_VTYPE_KEY, memory(record.key)),
            field(vtype::RD_KAFKA_VTYPE_VALUE, memory(record.value)),
            field(
                vtype::RD_KAFKA_VTYPE_OPAQUE,
                Field { ptr: ptr::without_provenance_mut(record.tag) },
            ),
            field(vtype::RD_KAFKA_VTYPE_PARTITION, Field { i32_: record.partition.unwrap_or(-1) }),
            field(vtype::RD_KAFKA_VTYPE_TIMESTAMP, Field { i64_: record.timestamp.unwrap_or(0) }),
            field(vtype::RD_KAFKA_VTYPE_END, Field { i: 0 }),
        ];
        let mut count = fields.len() - 1;
        let mut list = None;
        if !record.headers.is_empty() {
            let headers = list.insert(HeaderList::of(record)).0.as_ptr();
            fields[count] = field(vtype::RD_KAFKA_VTYPE_HEADERS, Field { headers });
            count += 1;
        } else if let Some(sequence) = record.sequence {
            let header = native::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
                name: HEADER_NAME.as_ptr(),
                val: sequence.as_ptr().cast(),
                size: isize::try_from(sequence.len()).expect("a slice is no longer than that"),
            };
            fields[count] = field(vtype::RD_KAFKA_VTYPE_HEADER, Field { header });
            count += 1;
        }
        let rk = self.producer.client().native_ptr();
        // SAFETY: producer and topic live as long as `self`. Each field has the member of the union that its type
        // stands for; key, value and header are borrowed until the call returns, and it copies all of them. A list of
        // headers it takes, unless it fails.
        let error = unsafe { native::rd_kafka_produceva(rk, fields.as_ptr(), count) };
        if error.is_null() {
            if let Some(list) = list {
                std::mem::forget(list);
            }
            return Ok(());
        }
        // SAFETY: the error is ours until it is destroyed, here and once.
        let code = unsafe {
            let code = native::rd_kafka_error_code(error);
            native::rd_kafka_error_destroy(error);
            code
        };
        Err(KafkaError::MessageProduction(code.into()))
    }
}

impl<R: Reports> Drop for Topic<R> {
    fn drop(&mut self) {
        // SAFETY: it is ours, destroyed once, and before the producer that it is of.
        unsafe { native::rd_kafka_topic_destroy(self.rkt.as_ptr()) };
    }
}

/// Headers in a list of librdkafka's, for a record that has more than the one of the relay.
struct HeaderList(NonNull<native::rd_kafka_headers_t>);

impl HeaderList {
    fn of(record: &Record<'_>) -> HeaderList {
        let own = record.sequence.map(|sequence| (SEQUENCE_HEADER, Some(sequence)));
        let others = record.headers.iter().map(|header| (header.name, header.value));
        // SAFETY: it takes a number for what to make room for.
        let list = unsafe { native::rd_kafka_headers_new(HEADERS_ROOM) };
        let list =
            HeaderList(NonNull::new(list).expect("librdkafka ends the process without memory"));
        for (name, value) in own.into_iter().chain(others) {
            let (value, value_len) = value.map_or((ptr::null(), 0), |it| (it.as_ptr(), it.len()));
            let length = |len| isize::try_from(len).expect("a slice is no longer than that");
            // SAFETY: the list lives; name and value are borrowed for the call, which copies as many bytes as are
            // said. A value without an address is NULL.
            unsafe {
                native::rd_kafka_header_add(
                    list.0.as_ptr(),
                    name.as_ptr().cast(),
                    length(name.len()),
                    value.cast(),
                    length(value_len),
                )
            };
        }
        list
    }
}

impl Drop for HeaderList {
    fn drop(&mut self) {
        // SAFETY: it is ours, as no record has taken it; destroyed once.
        unsafe { native::rd_kafka_headers_destroy(self.0.as_ptr()) };
    }
}

fn field(vtype: native::rd_kafka_vtype_t, u: Field) -> native::rd_kafka_vu_t {
    native::rd_kafka_vu_t { vtype, u }
}

/// What is NULL has no address; what is empty has one.
fn memory(bytes: Option<&[u8]>) -> Field {
    let (ptr, size) = bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()));
    let ptr = ptr.cast_mut().cast();
    Field { mem: native::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size } }
}

type Wake = Box<dyn Fn() + Send + Sync>;

/// The queue of a producer's reports.
struct Queue<R: Reports> {
    queue: NonNull<native::rd_kafka_queue_t>,
    /// The callback; boxed twice, so that its address is a thin pointer as in C.
    wake: NonNull<Wake>,
    /// It outlives the queue.
    _producer: Arc<BaseProducer<Context<R>>>,
}

// SAFETY: a queue of librdkafka is a counted reference behind a lock, for any thread; `wake` is `Send + Sync`.
unsafe impl<R: Reports> Send for Queue<R> {}
// SAFETY: as above.
unsafe impl<R: Reports> Sync for Queue<R> {}

impl<R: Reports> Queue<R> {
    fn of(producer: Arc<BaseProducer<Context<R>>>, wake: Wake) -> Queue<R> {
        let wake = NonNull::from(Box::leak(Box::new(wake)));
        let rk = producer.client().native_ptr();
        // SAFETY: the producer lives; `wake` lives until the queue is dropped, which takes it back first.
        let queue = unsafe {
            let queue = native::rd_kafka_queue_get_main(rk);
            native::rd_kafka_queue_cb_event_enable(queue, Some(call), wake.as_ptr().cast());
            queue
        };
        let queue = NonNull::new(queue).expect("every client has a main queue");
        Queue { queue, wake, _producer: producer }
    }

    fn has_more(&self) -> bool {
        // SAFETY: the queue lives.
        unsafe { native::rd_kafka_queue_length(self.queue.as_ptr()) > 0 }
    }
}

impl<R: Reports> Drop for Queue<R> {
    fn drop(&mut self) {
        // SAFETY: librdkafka calls `wake` under the queue's lock, which it takes to forget it as well; so nobody
        // calls it afterwards. Both are ours, and are given back once.
        unsafe {
            native::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            native::rd_kafka_queue_destroy(self.queue.as_ptr());
            drop(Box::from_raw(self.wake.as_ptr()));
        }
    }
}

/// librdkafka calls this when an empty queue gets something.
unsafe extern "C" fn call(_: *mut native::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: it is the pointer that [`Queue::of`] gave, and lives as long as the queue may call.
    let wake = unsafe { &*wake.cast::<Wake>() };
    wake();
}
