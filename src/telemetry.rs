//! What is counted and timed while the program runs, and how it is told: OpenMetrics 1.0.
//!
//! Counters and histograms are atomic, so that whoever does the work counts it without waiting. They start at zero with
//! the process.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The media type of what [`Exposition`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a histogram's buckets, in seconds: from half a millisecond to half a minute.
const BOUNDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How long something took, how often.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulative; the last is for what is above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A text of metrics, family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: String,
}

/// Labels of a sample: names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Begins a family. `name` ends with its unit, if it has one.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) -> &mut Exposition {
        self.family = name.to_owned();
        let text = &mut self.text;
        writeln!(text, "# TYPE {name} {kind}").expect("strings take writes");
        for unit in ["seconds", "bytes"] {
            if name.ends_with(&format!("_{unit}")) {
                writeln!(text, "# UNIT {name} {unit}").expect("strings take writes");
            }
        }
        writeln!(text, "# HELP {name} {help}").expect("strings take writes");
        self
    }

    /// A sample of a gauge.
    pub fn gauge(&mut self, labels: Labels<'_>, value: f64) -> &mut Exposition {
        self.sample("", labels, value)
    }

    /// A sample of a counter.
    pub fn counter(&mut self, labels: Labels<'_>, value: f64) -> &mut Exposition {
        self.sample("_total", labels, value)
    }

    /// The samples of a histogram.
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) -> &mut Exposition {
        let mut count = 0;
        for (index, of_bucket) in histogram.counts.iter().enumerate() {
            count += of_bucket.load(Ordering::Relaxed);
            let bound = BOUNDS.get(index).map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample("_bucket", &labels, count as f64);
        }
        self.sample("_count", labels, count as f64);
        let nanoseconds = histogram.nanoseconds.load(Ordering::Relaxed);
        self.sample("_sum", labels, nanoseconds as f64 / 1e9)
    }

    fn sample(&mut self, suffix: &str, labels: Labels<'_>, value: f64) -> &mut Exposition {
        self.text.push_str(&self.family);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.text, "{name}=\"{value}\"").expect("strings take writes");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.text, "{end} {value}").expect("strings take writes");
        self
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_as_the_standard_writes_them() {
        let mut out = Exposition::default();
        out.family("a_events", "counter", "Events.")
            .counter(&[("outcome", "a \"b\"\\\n")], 3.0)
            .counter(&[], 0.0);
        out.family("b_bytes", "gauge", "Bytes.").gauge(&[], 1.5);
        let expected = "# TYPE a_events counter\n# HELP a_events Events.\n\
            a_events_total{outcome=\"a \\\"b\\\"\\\\\\n\"} 3\na_events_total 0\n\
            # TYPE b_bytes gauge\n# UNIT b_bytes bytes\n# HELP b_bytes Bytes.\nb_bytes 1.5\n# EOF\n";
        assert_eq!(out.finish(), expected);
    }

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::default();
        for ms in [0, 1, 1, 400, 60_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut out = Exposition::default();
        out.family("t_seconds", "histogram", "Time.").histogram(&[("kind", "x")], &histogram);
        let text = out.finish();
        let has = |line: &str| assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
        has("t_seconds_bucket{kind=\"x\",le=\"0.0005\"} 1");
        has("t_seconds_bucket{kind=\"x\",le=\"0.001\"} 3");
        has("t_seconds_bucket{kind=\"x\",le=\"0.5\"} 4");
        has("t_seconds_bucket{kind=\"x\",le=\"30.0\"} 4");
        has("t_seconds_bucket{kind=\"x\",le=\"+Inf\"} 5");
        has("t_seconds_count{kind=\"x\"} 5");
        has("t_seconds_sum{kind=\"x\"} 60.402");
    }
}
