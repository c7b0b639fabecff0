//! What happened, for `notify_get_notifications`: the last ones, numbered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// Notifications kept.
const KEPT: usize = 1000;

/// Kinds of notifications. The first two are SPDK's.
pub const TYPES: &[&str] = &[
    "bdev_register",
    "bdev_unregister",
    "sluice_host_connected",
    "sluice_host_disconnected",
    "sluice_host_lost",
    "sluice_host_refused",
    "sluice_ssd_reset",
    "sluice_ssd_lost",
    "sluice_ssd_back",
    "sluice_watchdog",
    "sluice_card_failed",
    "sluice_card_restarted",
    "sluice_card_event",
];

/// Shared between the owner, who adds, and callers, who read.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Number of the next.
    next: u64,
    last: VecDeque<(u64, &'static str, String)>,
}

impl Events {
    /// Adds one; `kind` is one of [`TYPES`], `context` says what it is about.
    pub fn add(&self, kind: &'static str, context: impl Into<String>) {
        debug_assert!(TYPES.contains(&kind));
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        if inner.last.len() == KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back((number, kind, context.into()));
    }

    /// Those from number `from` on, at most `max`, in the form of the method.
    #[must_use]
    pub fn list(&self, from: u64, max: u64) -> Value {
        let inner = self.lock();
        let wanted = inner.last.iter().filter(|(number, ..)| *number >= from);
        let wanted = wanted.take(usize::try_from(max).unwrap_or(usize::MAX));
        wanted
            .map(|(number, kind, context)| json!({ "type": kind, "ctx": context, "id": number }))
            .collect()
    }

    /// How many of a kind were ever added that are still kept: for tests.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.lock()
            .last
            .iter()
            .filter(|(_, k, _)| *k == kind)
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked left a whole list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_notifications_make_room_and_numbers_go_on() {
        let events = Events::default();
        for i in 0..KEPT + 5 {
            events.add("sluice_ssd_lost", format!("{i}"));
        }
        let all = events.list(0, u64::MAX);
        let all = all.as_array().expect("a list");
        assert_eq!(all.len(), KEPT);
        assert_eq!(
            all[0],
            json!({ "type": "sluice_ssd_lost", "ctx": "5", "id": 5 })
        );
        assert_eq!(events.list(1004, 10).as_array().map(Vec::len), Some(1));
        assert_eq!(events.list(1005, 10), json!([]));
        assert_eq!(events.list(0, 2).as_array().map(Vec::len), Some(2));
    }
}
