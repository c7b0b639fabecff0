//! How long commands took: buckets as the daemon counts them, and the percentiles that they give.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Commands by the upper bound of their bucket in nanoseconds; [`BOUNDLESS`] for those beyond all bounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram(BTreeMap<u64, u64>);

/// Bound of the last bucket.
const BOUNDLESS: u64 = u64::MAX;

impl Histogram {
    /// Adds what a metric has: `{"buckets": [[bound in seconds or null, count], …]}`. What has another shape is left out.
    pub fn add(&mut self, value: &Value) {
        for bucket in value["buckets"].as_array().into_iter().flatten() {
            let Some(count) = bucket[1].as_u64().filter(|n| *n > 0) else {
                continue;
            };
            let bound = bucket[0].as_f64().map_or(BOUNDLESS, nanoseconds);
            self.insert(bound, count);
        }
    }

    /// What came since `before`; all of it if it has gone back, as after a new start.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut new = Self::default();
        for (bound, count) in &self.0 {
            let before = before.0.get(bound).copied().unwrap_or_default();
            match count.checked_sub(before) {
                Some(0) => {}
                Some(more) => new.insert(*bound, more),
                None => return self.clone(),
            }
        }
        new
    }

    /// Adds another one's commands.
    pub fn merge(&mut self, other: &Self) {
        for (bound, count) in &other.0 {
            self.insert(*bound, *count);
        }
    }

    /// The time in seconds that the part `quantile` (0 to 1) of the commands did not exceed, by linear interpolation in the
    /// bucket, which is taken to begin a fifth below its end: buckets are a quarter of an octave wide at most. `None` without
    /// commands. Beyond all bounds it is the last bound known.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let all: u64 = self.0.values().sum();
        let wanted = quantile * all as f64;
        let (mut below, mut last) = (0, 0);
        for (bound, count) in &self.0 {
            let reached = below + count;
            if reached as f64 >= wanted {
                if *bound == BOUNDLESS {
                    return Some(last.max(LONGEST) as f64 / 1e9);
                }
                let end = *bound as f64;
                let begin = (last as f64).max(end * 0.8);
                let part = (wanted - below as f64) / *count as f64;
                return Some((begin + (end - begin) * part) / 1e9);
            }
            (below, last) = (reached, *bound);
        }
        None
    }

    fn insert(&mut self, bound: u64, count: u64) {
        let total = self.0.entry(bound).or_default();
        *total = total.saturating_add(count);
    }
}

/// Longest bound that the daemon tells apart, in nanoseconds.
const LONGEST: u64 = 1_073_741_824;

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// Median and 99th percentile, in seconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Percentiles {
    /// Median.
    pub p50: Option<f64>,
    /// What one in a hundred exceeds.
    pub p99: Option<f64>,
}

impl From<&Histogram> for Percentiles {
    fn from(histogram: &Histogram) -> Self {
        Self {
            p50: histogram.quantile(0.5),
            p99: histogram.quantile(0.99),
        }
    }
}

impl Percentiles {
    /// For programs; without commands there are none.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({ "p50_seconds": self.p50, "p99_seconds": self.p99 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: Value) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(&json!({ "buckets": buckets }));
        histogram
    }

    #[test]
    fn percentiles_lie_in_the_bucket_that_has_them() {
        let h = histogram(json!([[0.001, 50], [0.00125, 49], [0.002, 0], [null, 1]]));
        assert!((h.quantile(0.5).expect("commands") - 0.001).abs() < 1e-9);
        let p99 = h.quantile(0.99).expect("commands");
        assert!((p99 - 0.00125).abs() < 1e-9, "{p99}");
        assert_eq!(h.quantile(1.0), Some(1.073_741_824), "beyond all bounds");
        assert_eq!(Histogram::default().quantile(0.5), None);
        // Alone in its bucket, between its ends.
        let h = histogram(json!([[0.001, 1]]));
        let median = h.quantile(0.5).expect("a command");
        assert!((median - 0.0009).abs() < 1e-9, "{median}");
    }

    #[test]
    fn what_came_since_is_a_difference_and_all_of_it_after_a_new_start() {
        let (before, now) = (
            histogram(json!([[0.001, 5], [0.002, 7]])),
            histogram(json!([[0.001, 5], [0.002, 9]])),
        );
        assert_eq!(now.since(&before), histogram(json!([[0.002, 2]])));
        assert_eq!(before.since(&now), before);
        let mut both = before.clone();
        both.merge(&before);
        assert_eq!(both, histogram(json!([[0.001, 10], [0.002, 14]])));
    }

    #[test]
    fn buckets_of_another_shape_are_nothing() {
        assert_eq!(histogram(json!([3, [], ["x", "y"]])), Histogram::default());
        assert_eq!(histogram(json!("none")), Histogram::default());
    }
}
