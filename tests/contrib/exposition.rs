use std::collections::{BTreeMap, BTreeSet};

use crate::promql::selectors;

/// The metrics that an exporter shows.
#[derive(Default)]
pub(crate) struct Exposition {
    /// The type of each metric: `counter`, `gauge` or `summary`.
    pub(crate) types: BTreeMap<String, String>,
    /// The labels of each metric, and their values.
    pub(crate) series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Exposition {
    pub(crate) fn of(text: &str) -> Self {
        let mut shown = Self::default();
        for line in text.lines() {
            if let Some(of) = line.strip_prefix("# TYPE ") {
                let (metric, r#type) = of.split_once(' ').unwrap();
                shown.types.insert(metric.to_owned(), r#type.to_owned());
            } else if !line.starts_with('#') {
                shown.add(line);
            }
        }
        shown
    }

    fn add(&mut self, line: &str) {
        for series in selectors(line) {
            let labels = self.series.entry(series.metric).or_default();
            for matcher in series.matchers {
                let values = matcher.values().map(str::to_owned);
                labels
                    .entry(matcher.label.clone())
                    .or_default()
                    .extend(values);
            }
        }
    }
}
