//! Checks the dashboard, the alerts and the table of metrics against what an exporter shows after an outage.

mod exposition;
mod outage;
mod promql;
mod promtool;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use exposition::Exposition;
use promql::{Selector, groupings, selectors};
use promtool::promtool;
use serde_json::{Value, json};

const ALERTS: &str = include_str!("../../contrib/prometheus-alerts.yml");
const ALERT_TESTS: &str = include_str!("../../contrib/prometheus-alerts.test.yml");
const DASHBOARD: &str = include_str!("../../contrib/grafana-dashboard.json");
const TABLE: &str = include_str!("../../docs/metrics.md");

/// The labels that Prometheus adds to each series that it scrapes.
const SCRAPED: [&str; 2] = ["instance", "job"];

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

/// Returns the dashboard's panels, without the headings of rows.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row")
}

fn targets(dashboard: &Value) -> impl Iterator<Item = &Value> {
    panels(dashboard).flat_map(|panel| panel["targets"].as_array().unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Returns the values of a key, each of which stands on the key's line.
fn lines_of<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let lines = yaml
        .lines()
        .map(|line| line.trim().trim_start_matches("- "));
    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    values.collect()
}

fn alert_expressions() -> Vec<&'static str> {
    let expressions = lines_of(ALERTS, "expr");
    assert_eq!(expressions.len(), lines_of(ALERTS, "alert").len());
    expressions
}

/// Asserts that the exporter shows every metric, label and value that the expression selects.
#[track_caller]
fn assert_shown(shown: &Exposition, expression: &str) {
    let selectors = selectors(expression);
    assert!(!selectors.is_empty(), "{expression}");
    for Selector { metric, matchers } in &selectors {
        let Some(labels) = shown.series.get(metric) else {
            panic!("there is no {metric}: {expression}");
        };
        for matcher in matchers {
            if SCRAPED.contains(&&*matcher.label) {
                continue;
            }
            let Some(values) = labels.get(&matcher.label) else {
                panic!("{metric} has no {}: {expression}", matcher.label);
            };
            for value in matcher.values() {
                assert!(values.contains(value), "{value:?} in {expression}");
            }
        }
    }
    let labels = labels_of(shown, expression);
    for label in groupings(expression) {
        assert!(labels.contains(&*label), "{label} in {expression}");
    }
}

/// Returns the labels by which the series of an expression can be grouped.
fn labels_of<'a>(shown: &'a Exposition, expression: &str) -> BTreeSet<&'a str> {
    let metrics = selectors(expression).into_iter().map(|it| it.metric);
    let labels = metrics.flat_map(|metric| shown.series[&metric].keys());
    labels.map(String::as_str).chain(SCRAPED).collect()
}

#[test]
fn dashboard_asks_for_what_there_is() {
    let (dashboard, shown) = (dashboard(), outage::shown());
    for target in targets(&dashboard) {
        let expression = text(&target["expr"]);
        assert_shown(&shown, expression);
        let legend = text(&target["legendFormat"]).split("{{").skip(1);
        for label in legend.map(|rest| rest.split_once("}}").unwrap().0) {
            assert!(
                labels_of(&shown, expression).contains(label),
                "{label} in the legend of {expression}"
            );
            assert!(
                groupings(expression).iter().any(|group| group == label),
                "{label} is not what {expression} is grouped by"
            );
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            let query = text(&variable["query"]["query"]);
            assert_shown(&shown, query);
            let (_, label) = query.trim_end_matches(')').rsplit_once(", ").unwrap();
            assert!(labels_of(&shown, query).contains(label), "{query}");
        }
    }
}

#[test]
fn dashboard_has_a_panel_for_each_metric() {
    let dashboard = dashboard();
    let asked: BTreeSet<String> = targets(&dashboard)
        .flat_map(|target| selectors(text(&target["expr"])))
        .map(|selector| selector.metric)
        .collect();
    for metric in outage::shown().types.keys() {
        assert!(asked.contains(metric), "{metric}");
    }
}

#[test]
fn panels_say_what_they_show_and_in_which_unit() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert!(!title.is_empty());
        assert!(!text(&panel["description"]).is_empty(), "{title}");
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        assert!(!text(unit).is_empty(), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
    }
}

#[test]
fn alerts_ask_for_what_there_is() {
    let shown = outage::shown();
    for expression in alert_expressions() {
        assert_shown(&shown, expression);
    }
}

#[test]
fn each_alert_is_tested_to_fire_and_to_stay_silent() {
    let tests: Vec<&str> = ALERT_TESTS.split("alertname: ").skip(1).collect();
    for alert in lines_of(ALERTS, "alert") {
        for expected in ["exp_alerts: []", "exp_labels: "] {
            let is_it = |test: &&str| test.lines().next() == Some(alert) && test.contains(expected);
            assert!(tests.iter().any(is_it), "{alert}: {expected}");
        }
    }
}

#[test]
fn table_of_metrics_is_what_an_exporter_shows() {
    let backticked = |cell: &str| -> BTreeSet<String> {
        let parts = cell.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let mut table = BTreeMap::new();
    for row in TABLE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names: Vec<_> = backticked(cells[1]).into_iter().collect();
        let [name] = &names[..] else {
            panic!("{row}");
        };
        let shown_as = if cells[2] == "histogram" {
            "summary"
        } else {
            cells[2]
        };
        let row = (shown_as.to_owned(), backticked(cells[3]));
        assert!(table.insert(name.clone(), row).is_none(), "{name} twice");
    }

    let shown = outage::shown();
    let labels = |metric: &String| -> BTreeSet<String> {
        let labels = shown.series[metric].keys();
        labels
            .filter(|label| *label != "quantile")
            .cloned()
            .collect()
    };
    let shown = shown
        .types
        .iter()
        .map(|(metric, r#type)| (metric.clone(), (r#type.clone(), labels(metric))));
    assert_eq!(table, shown.collect());
}

#[test]
fn promtool_has_nothing_to_complain_of_in_the_metrics() {
    let shown = outage::rendered();
    if let Some(said) = promtool(&["check", "metrics"], &shown) {
        assert_eq!(said, "");
    }
}

#[test]
fn promtool_accepts_the_alerts() {
    let _ = promtool(&["check", "rules", "contrib/prometheus-alerts.yml"], "");
}

#[test]
fn promtool_sees_alerts_fire_and_stay_silent() {
    let _ = promtool(&["test", "rules", "contrib/prometheus-alerts.test.yml"], "");
}

/// The dashboard's expressions are passed as rules, in JSON, which is also YAML.
#[test]
fn promtool_accepts_what_the_dashboard_asks() {
    let dashboard = dashboard();
    let rules = targets(&dashboard).enumerate().map(|(number, target)| {
        let expression = text(&target["expr"])
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1h")
            .replace("$provider", ".*")
            .replace("$job", ".*");
        json!({"record": format!("dashboard:{number}"), "expr": expression})
    });
    let rules: Vec<_> = rules.collect();
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/dashboard-rules.json");
    fs::write(path, rules.to_string()).unwrap();
    let _ = promtool(&["check", "rules", path], "");
}
