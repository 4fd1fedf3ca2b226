//! An admin client whose main queue is read: log lines, errors, and requests for a token.
//!
//! rdkafka's admin client reads only the answers to its own requests. Without this file, all other events would pile up
//! in memory, and a login with tokens would never get one.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::bindings as native;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use super::{ClientError, Context, create};
use crate::tasks;

/// How long one poll of the queue waits. The thread outlives its client by up to this time.
const POLL_MILLIS: c_int = 100;

/// An admin client, and the thread that reads its main queue.
pub struct Admin {
    client: Arc<AdminClient<Context>>,
    is_over: Arc<AtomicBool>,
}

impl Deref for Admin {
    type Target = AdminClient<Context>;

    fn deref(&self) -> &AdminClient<Context> {
        &self.client
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Admin {
    pub(super) fn new(config: &ClientConfig) -> Result<Admin, ClientError> {
        let client: Arc<AdminClient<Context>> = Arc::new(create(config, Context::default())?);
        let is_over = Arc::<AtomicBool>::default();
        let (served, stop) = (client.clone(), is_over.clone());
        let serve = move || {
            let queue = Queue::main(&served);
            while !stop.load(Ordering::Relaxed) {
                if let Some(event) = queue.poll() {
                    event.serve(&served);
                }
            }
        };
        tasks::spawn_thread("admin events", serve).map_err(ClientError::Thread)?;
        Ok(Admin { client, is_over })
    }
}

struct Queue(NonNull<native::rd_kafka_queue_t>);

impl Queue {
    fn main(client: &AdminClient<Context>) -> Queue {
        // SAFETY: the client is alive.
        let queue = unsafe { native::rd_kafka_queue_get_main(client.inner().native_ptr()) };
        Queue(NonNull::new(queue).expect("every client has a main queue"))
    }

    fn poll(&self) -> Option<Event> {
        // SAFETY: the queue is alive; the event that comes back is ours to free.
        NonNull::new(unsafe { native::rd_kafka_queue_poll(self.0.as_ptr(), POLL_MILLIS) })
            .map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: a reference of our own, given back once, while the client is alive.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

struct Event(NonNull<native::rd_kafka_event_t>);

impl Event {
    /// Ignores other events, such as statistics.
    fn serve(&self, client: &AdminClient<Context>) {
        // SAFETY: the event is alive.
        match unsafe { native::rd_kafka_event_type(self.0.as_ptr()) } {
            native::RD_KAFKA_EVENT_LOG => self.log(client.inner().context()),
            native::RD_KAFKA_EVENT_ERROR => self.error(client.inner().context()),
            native::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH => self.refresh_token(client),
            _ => {}
        }
    }

    fn log(&self, context: &Context) {
        let (mut facility, mut message, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is alive, and of this type; the texts belong to it.
        unsafe {
            let (facility_at, message_at) = (&raw mut facility, &raw mut message);
            native::rd_kafka_event_log(self.0.as_ptr(), facility_at, message_at, &raw mut level);
            context.log(log_level(level), text(facility).trim(), text(message).trim());
        }
    }

    fn error(&self, context: &Context) {
        // SAFETY: the event is alive, and of this type; the text belongs to it.
        unsafe {
            let code = native::rd_kafka_event_error(self.0.as_ptr());
            let reason = native::rd_kafka_event_error_string(self.0.as_ptr());
            context.error(KafkaError::Global(code.into()), text(reason).trim());
        }
    }

    fn refresh_token(&self, client: &AdminClient<Context>) {
        let rk = client.inner().native_ptr();
        // SAFETY: the event is alive, and of this type; the text belongs to it.
        let config = unsafe {
            let config = native::rd_kafka_event_config_string(self.0.as_ptr());
            (!config.is_null()).then(|| text(config).into_owned())
        };
        let made = client.inner().context().generate_oauth_token(config.as_deref());
        let (token, principal, lifetime_ms) = match made {
            Ok(made) => (made.token, made.principal_name, made.lifetime_ms),
            Err(error) => return fail_token(rk, &error.to_string()),
        };
        let (Ok(token), Ok(principal)) = (CString::new(token), CString::new(principal)) else {
            return fail_token(rk, "the token has a NUL");
        };
        let mut problem: [c_char; 256] = [0; 256];
        // SAFETY: the client is alive, the texts end with a NUL, and the buffer is as long as it is said to be.
        let code = unsafe {
            native::rd_kafka_oauthbearer_set_token(
                rk,
                token.as_ptr(),
                lifetime_ms,
                principal.as_ptr(),
                ptr::null_mut(),
                0,
                problem.as_mut_ptr(),
                problem.len(),
            )
        };
        if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            // SAFETY: librdkafka ends the text with a NUL.
            fail_token(rk, &unsafe { text(problem.as_ptr()) });
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: from `poll`, freed only here.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// `rk` is a live client's pointer. librdkafka makes an error of it, and asks again in 10 s.
fn fail_token(rk: *mut native::rd_kafka_t, problem: &str) {
    if let Ok(problem) = CString::new(problem) {
        // SAFETY: the client is alive, and the text ends with a NUL.
        unsafe { native::rd_kafka_oauthbearer_set_token_failure(rk, problem.as_ptr()) };
    }
}

/// # Safety
/// A text of C, or null.
unsafe fn text<'a>(text: *const c_char) -> std::borrow::Cow<'a, str> {
    if text.is_null() {
        "".into()
    } else {
        // SAFETY: as the caller says.
        unsafe { CStr::from_ptr(text) }.to_string_lossy()
    }
}

/// Those of syslog.
fn log_level(level: c_int) -> RDKafkaLogLevel {
    match level {
        ..=3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}
