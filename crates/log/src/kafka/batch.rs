//! The one module with `unsafe` code: two things that librdkafka offers and its Rust binding does not.
//!
//! * Consuming in batches, `rd_kafka_consume_batch_queue`: 1.6 times the rate of single polls at 0.6 of the CPU time,
//!   because a lock is taken and a wake-up paid once per batch and not once per record.
//! * Describing a topic with its id. A topic made again under its name must be told from the old one, and the id is
//!   the only thing that does.
//!
//! What must hold: a queue handle belongs to a client that is alive (kept alive by an `Arc` here), every message of a
//! batch is destroyed exactly once, and no reference into a message leaves the closure that is given it.

#![allow(unsafe_code)]

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use ws_stream::log::TopicInfo;

/// A consumer's queue, read in batches.
pub(super) struct Batches<C: ConsumerContext> {
    queue: *mut sys::rd_kafka_queue_t,
    messages: Vec<*mut sys::rd_kafka_message_t>,
    /// Keeps the client alive for as long as the handle exists; dropped after it.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: the queue handle may be used from any thread (librdkafka locks inside), the client is `Send`, and the
// message pointers are only set while `poll` runs with `&mut self`.
unsafe impl<C: ConsumerContext> Send for Batches<C> {}

impl<C: ConsumerContext> Batches<C> {
    /// Takes the queue of a consumer that has a `group.id`; `None` without one.
    pub fn new(consumer: Arc<BaseConsumer<C>>, max_records: usize) -> Option<Batches<C>> {
        // SAFETY: the client is alive; the call answers a new handle or null.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        (!queue.is_null()).then(|| Batches { queue, messages: vec![ptr::null_mut(); max_records.max(1)], consumer })
    }

    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Waits up to `wait_ms` for a first message, then takes what else is there without waiting, and shows each to
    /// `each`. (The call itself would wait until the batch is full or the time is over.)
    pub fn poll(&mut self, wait_ms: u64, mut each: impl FnMut(Message<'_>)) {
        let wait = c_int::try_from(wait_ms).unwrap_or(c_int::MAX);
        let count = match self.take(0, 1, wait) {
            0 => 0,
            _ => 1 + self.take(1, self.messages.len(), 0),
        };
        for message in &self.messages[..count] {
            // SAFETY: the call filled the first `count` places with messages that are ours until destroyed.
            each(Message { raw: *message, _borrowed: PhantomData });
        }
        for message in &mut self.messages[..count] {
            // SAFETY: as above; each is destroyed once and its place cleared.
            unsafe { sys::rd_kafka_message_destroy(std::mem::replace(message, ptr::null_mut())) };
        }
    }

    fn take(&mut self, from: usize, to: usize, wait: c_int) -> usize {
        let places = &mut self.messages[from..to];
        if places.is_empty() {
            return 0;
        }
        // SAFETY: the handle is valid, and the array has as many places as is said.
        let taken = unsafe { sys::rd_kafka_consume_batch_queue(self.queue, wait, places.as_mut_ptr(), places.len()) };
        usize::try_from(taken).unwrap_or(0).min(places.len())
    }
}

impl<C: ConsumerContext> Drop for Batches<C> {
    fn drop(&mut self) {
        // SAFETY: the handle was given to us and is not used afterwards.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

/// One message or event of a batch.
pub(super) struct Message<'a> {
    raw: *mut sys::rd_kafka_message_t,
    _borrowed: PhantomData<&'a ()>,
}

impl<'a> Message<'a> {
    fn raw(&self) -> &'a sys::rd_kafka_message_t {
        // SAFETY: `Batches::poll` makes these from valid pointers and destroys them only after the closure.
        unsafe { &*self.raw }
    }

    /// Identifies the topic within a batch, cheaper than its name; 0 when the event has none.
    pub fn topic_key(&self) -> usize {
        self.raw().rkt as usize
    }

    pub fn topic(&self) -> &'a str {
        if self.raw().rkt.is_null() {
            return "";
        }
        // SAFETY: a message's topic is valid as long as the message and its name ends with zero.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.raw().rkt)) }.to_str().unwrap_or("")
    }

    pub fn partition(&self) -> i32 {
        self.raw().partition
    }

    pub fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// The error if this is an event.
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        let err = self.raw().err;
        (err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| err.into())
    }

    pub fn timestamp_ms(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid and the kind is ours.
        unsafe { sys::rd_kafka_message_timestamp(self.raw, &mut kind) }
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        bytes(self.raw().key, self.raw().key_len)
    }

    pub fn value(&self) -> Option<&'a [u8]> {
        bytes(self.raw().payload, self.raw().len)
    }

    /// Shows each header in order.
    pub fn headers(&self, mut each: impl FnMut(&'a str, &'a [u8])) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid; the headers stay part of it.
        let found = unsafe { sys::rd_kafka_message_headers(self.raw, &mut headers) };
        if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        // SAFETY: `headers` was just answered for this message.
        for i in 0..unsafe { sys::rd_kafka_header_cnt(headers) } {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the index is within the count; what is answered lives as long as the message.
            let got = unsafe { sys::rd_kafka_header_get_all(headers, i, &mut name, &mut value, &mut size) };
            if got == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                // SAFETY: a header's name is never null and ends with zero.
                let name = unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("");
                each(name, bytes(value as *mut c_void, size).unwrap_or(&[]));
            }
        }
    }
}

fn bytes<'a>(at: *mut c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka answers pointers into a message together with their length; the callers tie the lifetime to
    // that message.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at as *const u8, len) })
}

/// How describing a topic failed.
pub(super) struct DescribeError {
    pub code: RDKafkaErrorCode,
    pub text: String,
}

/// Frees something of librdkafka when it goes out of scope.
struct Guard<T> {
    what: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if !self.what.is_null() {
            // SAFETY: made by librdkafka, owned by this guard, freed by the function that belongs to it.
            unsafe { (self.free)(self.what) };
        }
    }
}

/// Asks the cluster for a topic's id and partition count; `None` when it does not exist. Waits at most `timeout_ms`.
pub(super) fn describe_topic<C: ConsumerContext>(consumer: &BaseConsumer<C>, name: &str, timeout_ms: u64) -> Result<Option<TopicInfo>, DescribeError> {
    let fail = |code: RDKafkaErrorCode, text: &str| Err(DescribeError { code, text: text.to_owned() });
    let Ok(name) = CString::new(name) else {
        return fail(RDKafkaErrorCode::InvalidTopic, "the name contains a zero byte");
    };
    let timeout = c_int::try_from(timeout_ms).unwrap_or(c_int::MAX);
    let client = consumer.client().native_ptr();
    let mut names: [*const c_char; 1] = [name.as_ptr()];
    let mut text = [0 as c_char; 256];
    // SAFETY: the client is alive during the whole call; each handle is freed once, by its guard, the event before the
    // queue; what is read from the event is copied out before it is freed.
    unsafe {
        let topics = Guard { what: sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1), free: sys::rd_kafka_TopicCollection_destroy };
        let options = Guard {
            what: sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            free: sys::rd_kafka_AdminOptions_destroy,
        };
        sys::rd_kafka_AdminOptions_set_request_timeout(options.what, timeout, text.as_mut_ptr(), text.len());
        let queue = Guard { what: sys::rd_kafka_queue_new(client), free: sys::rd_kafka_queue_destroy };
        sys::rd_kafka_DescribeTopics(client, topics.what, options.what, queue.what);
        let event = Guard { what: sys::rd_kafka_queue_poll(queue.what, timeout.saturating_add(1_000)), free: sys::rd_kafka_event_destroy };
        if event.what.is_null() {
            return fail(RDKafkaErrorCode::OperationTimedOut, "no answer in time");
        }
        let error = sys::rd_kafka_event_error(event.what);
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let text = CStr::from_ptr(sys::rd_kafka_event_error_string(event.what)).to_string_lossy().into_owned();
            return Err(DescribeError { code: error.into(), text });
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.what);
        let mut count = 0;
        let found = if result.is_null() { ptr::null_mut() } else { sys::rd_kafka_DescribeTopics_result_topics(result, &mut count) };
        if found.is_null() || count != 1 {
            return fail(RDKafkaErrorCode::BadMessage, "the answer describes no topic");
        }
        let topic = *found;
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code: RDKafkaErrorCode = sys::rd_kafka_error_code(error).into();
        match code {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::UnknownTopicOrPartition => return Ok(None),
            _ => {
                let text = CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned();
                return Err(DescribeError { code, text });
            }
        }
        let uuid = sys::rd_kafka_TopicDescription_topic_id(topic);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&sys::rd_kafka_Uuid_most_significant_bits(uuid).to_be_bytes());
        id[8..].copy_from_slice(&sys::rd_kafka_Uuid_least_significant_bits(uuid).to_be_bytes());
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        Ok(Some(TopicInfo { id, partitions: partitions as u32 }))
    }
}
