//! Puts at a constant rate that waits for nobody: what each took counts from when it was due, also if it could only be sent later.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::v3::{Client, base64};

use super::kubernetes::{Random, key, object};

/// How many answers may be awaited at a time: with 30 puts/s those of a second.
const WRITERS: u32 = 32;

/// One put.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Put {
    pub(crate) due: Instant,
    /// Until it was answered, from when it was due.
    pub(crate) took: Duration,
    /// Sent a whole interval too late, or not answered well.
    pub(crate) missed: bool,
}

pub(crate) struct Load {
    interval: Duration,
    objects: u64,
    next: AtomicU32,
    done: AtomicBool,
    puts: Mutex<Vec<Put>>,
}

impl Load {
    pub(crate) fn new(per_second: u32, objects: u64) -> Self {
        let (next, done) = (AtomicU32::new(0), AtomicBool::new(false));
        let interval = Duration::from_secs(1) / per_second;
        Self { interval, objects, next, done, puts: Mutex::default() }
    }

    /// Puts to the member of this URL, until it is told to end.
    pub(crate) fn begin<'s>(&'s self, scope: &'s Scope<'s, '_>, url: &str) {
        let began = Instant::now();
        for _ in 0..WRITERS {
            let client = Client::new(url).unwrap();
            scope.spawn(move || self.write(began, client));
        }
    }

    pub(crate) fn end(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// All that were answered, in the order in which they were due.
    pub(crate) fn puts(&self) -> Vec<Put> {
        let mut puts = self.puts.lock().unwrap().clone();
        puts.sort_unstable_by_key(|put| put.due);
        puts
    }

    /// Takes what is due next, whoever else still waits for an answer.
    fn write(&self, began: Instant, mut client: Client) {
        while !self.done.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = began + self.interval * number;
            let of = Random::of(u64::from(number)).next() % self.objects;
            let value = base64(object(of, 1 + u64::from(number)));
            let request = json!({ "key": base64(key(of)), "value": value });
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let late = due.elapsed();
            let answer = client.call("kv/put", &request);
            let put = Put { due, took: due.elapsed(), missed: late > self.interval || answer.is_err() };
            self.puts.lock().unwrap().push(put);
        }
    }
}
