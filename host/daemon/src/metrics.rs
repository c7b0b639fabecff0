//! Metrics: the table of all, a snapshot of their values, and their text for Prometheus.

pub mod http;
mod table;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

pub use table::{Kind, METRICS, Metric};

/// Values of the metrics at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(Vec<Sample>);

/// A value with its labels.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Of which metric.
    pub metric: &'static Metric,
    /// Values of its labels, in their order.
    pub values: Vec<String>,
    /// What was read.
    pub reading: Reading,
}

/// What was read.
#[derive(Clone, PartialEq, Debug)]
pub enum Reading {
    /// A running total.
    Counter(u64),
    /// A value as it is.
    Gauge(f64),
    /// Upper bounds and counts below them, not added up; sum of all values.
    Histogram(Vec<(f64, u64)>, f64),
}

impl Reading {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Counter(n) => json!(n),
            Self::Gauge(g) => json!(g),
            Self::Histogram(buckets, sum) => {
                // What has no upper bound has no number in JSON.
                let bound = |b: f64| if b.is_finite() { json!(b) } else { Value::Null };
                let buckets: Vec<_> = buckets.iter().map(|(b, n)| json!([bound(*b), n])).collect();
                json!({ "buckets": buckets, "sum": sum })
            }
        }
    }
}

impl Sample {
    /// Labels with their values.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.metric
            .labels
            .iter()
            .copied()
            .zip(self.values.iter().map(String::as_str))
    }
}

impl Snapshot {
    /// Adds a counter's value.
    pub fn counter(&mut self, name: &str, labels: &[&str], value: u64) {
        self.add(name, Kind::Counter, labels, Reading::Counter(value));
    }

    /// Adds a gauge's value.
    pub fn gauge(&mut self, name: &str, labels: &[&str], value: f64) {
        self.add(name, Kind::Gauge, labels, Reading::Gauge(value));
    }

    /// Adds a histogram.
    pub fn histogram(&mut self, name: &str, labels: &[&str], buckets: Vec<(f64, u64)>, sum: f64) {
        self.add(
            name,
            Kind::Histogram,
            labels,
            Reading::Histogram(buckets, sum),
        );
    }

    /// All values.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.0
    }

    /// The value of a metric with these labels: for tests and summaries.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[&str]) -> Option<&Reading> {
        let found = self
            .0
            .iter()
            .find(|s| s.metric.name == name && s.values == labels);
        found.map(|s| &s.reading)
    }

    /// The text that Prometheus reads (OpenMetrics 1.0).
    #[must_use]
    pub fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Encoder(self)));
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }

    /// A metric that is not in the table, or has other labels there, is a mistake of this program; it is left out.
    fn add(&mut self, name: &str, kind: Kind, labels: &[&str], reading: Reading) {
        let found = METRICS
            .iter()
            .find(|m| m.name == name && m.kind == kind && m.labels.len() == labels.len());
        debug_assert!(found.is_some(), "{name} {labels:?}");
        if let Some(metric) = found {
            let values = labels.iter().map(ToString::to_string).collect();
            self.0.push(Sample {
                metric,
                values,
                reading,
            });
        }
    }
}

#[derive(Debug)]
struct Encoder(Snapshot);

impl Collector for Encoder {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in METRICS {
            let samples: Vec<&Sample> = self
                .0
                .0
                .iter()
                .filter(|s| s.metric.name == metric.name)
                .collect();
            if samples.is_empty() {
                continue;
            }
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut all = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for sample in samples {
                let labels: Vec<(&str, &str)> = sample.labels().collect();
                if labels.is_empty() {
                    encode(&mut all, &sample.reading)?;
                } else {
                    encode(&mut all.encode_family(&labels)?, &sample.reading)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(to: &mut MetricEncoder<'_>, reading: &Reading) -> fmt::Result {
    match reading {
        Reading::Counter(n) => to.encode_counter::<NoLabelSet, _, f64>(n, None),
        Reading::Gauge(g) => to.encode_gauge(g),
        Reading::Histogram(buckets, sum) => {
            let count = buckets.iter().map(|(_, n)| n).sum();
            to.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_help_type_labels_and_ends_as_openmetrics_wants() {
        let mut s = Snapshot::default();
        s.gauge("sluice_up", &[], 1.0);
        s.counter("sluice_rx_dropped_frames", &["eth0", "icrc"], 3);
        s.counter("sluice_io_commands", &["1", "re\"ad\n"], 7);
        let text = s.text();
        for line in [
            "# TYPE sluice_up gauge",
            "sluice_up 1.0",
            "# TYPE sluice_rx_dropped_frames counter",
            "sluice_rx_dropped_frames_total{port=\"eth0\",reason=\"icrc\"} 3",
            "sluice_io_commands_total{core=\"1\",kind=\"re\\\"ad\\n\"} 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_histogram_is_added_up_and_ends_at_infinity() {
        let mut s = Snapshot::default();
        let buckets = vec![(0.001, 2), (0.002, 0), (f64::INFINITY, 3)];
        s.histogram("sluice_core_latency_seconds", &["1", "read"], buckets, 1.5);
        let text = s.text();
        for line in [
            "# TYPE sluice_core_latency_seconds histogram",
            "sluice_core_latency_seconds_sum{core=\"1\",kind=\"read\"} 1.5",
            "sluice_core_latency_seconds_count{core=\"1\",kind=\"read\"} 5",
            "sluice_core_latency_seconds_bucket{le=\"0.001\",core=\"1\",kind=\"read\"} 2",
            "sluice_core_latency_seconds_bucket{le=\"0.002\",core=\"1\",kind=\"read\"} 2",
            "sluice_core_latency_seconds_bucket{le=\"+Inf\",core=\"1\",kind=\"read\"} 5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
    }

    #[test]
    fn names_are_unique_and_units_are_the_base_units() {
        let mut seen = std::collections::HashSet::new();
        for m in METRICS {
            assert!(seen.insert(m.name), "{}", m.name);
            assert!(
                m.name.starts_with("sluice_") && !m.name.ends_with("_total"),
                "{}",
                m.name
            );
            for unit in ["seconds", "bytes", "celsius", "ratio"] {
                assert_eq!(m.unit == unit, m.name.ends_with(unit), "{}", m.name);
            }
        }
    }

    #[test]
    fn the_documentation_lists_every_metric_as_it_is_and_no_other() {
        let row = |m: &Metric| {
            let labels = if m.labels.is_empty() {
                "–".into()
            } else {
                m.labels.join(", ")
            };
            let kind = format!("{:?}", m.kind).to_lowercase();
            let (name, unit, help) = (m.name, m.unit, m.help);
            format!("| `{name}` | {kind} | {unit} | {labels} | {help} |")
        };
        let wanted: Vec<String> = METRICS.iter().map(row).collect();
        let documented = include_str!("../../../docs/metrics.md").lines();
        let documented: Vec<&str> = documented.filter(|l| l.starts_with("| `sluice_")).collect();
        assert_eq!(documented, wanted);
    }
}
