//! Draws how many callers wait for an answer or how long, and what they get.

use std::{collections::BTreeMap, error::Error, path::Path, time::Duration};

use plotters::{
    coord::{Shift, combinators::BindKeyPoints},
    prelude::*,
};

use crate::{
    designs::{BARE, DEFAULT, FAILOVER, FAILOVER_CHAIN, FUNCTIONAL, PEER, Run},
    figures::Figures,
    simulation::{Call, LASTS},
    table::{named, seconds as in_seconds, thousands},
    world::OUTAGE,
};

const HEAD: u32 = 84;
const ROWS: usize = 4;
const LEFT: i32 = 60;
const RIGHT: i32 = 24;

pub(crate) const INK: RGBColor = RGBColor(31, 35, 40);
pub(crate) const FAINT: RGBColor = RGBColor(89, 99, 110);
pub(crate) const GRID: RGBColor = RGBColor(222, 226, 230);
const SHADE: RGBColor = RGBColor(255, 239, 204);
const WAITING: RGBColor = RGBColor(66, 113, 174);
const WAITING_FILL: RGBColor = RGBColor(186, 205, 230);
const ANSWERS: RGBColor = RGBColor(118, 185, 121);
const ERRORS: RGBColor = RGBColor(214, 69, 65);

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), Box<dyn Error>>;

/// The panels: other designs on the left, this crate on the right.
const PANELS: [[&str; 2]; ROWS] = [
    [BARE, DEFAULT],
    ["before this crate", FUNCTIONAL],
    ["failsafe", FAILOVER],
    [PEER, FAILOVER_CHAIN],
];

/// Draws how many callers wait, one panel per design.
pub(crate) fn draw(path: &Path, runs: &[Run]) -> Drawn {
    let area = SVGBackend::new(path, (1000, 872)).into_drawing_area();
    area.fill(&WHITE)?;
    let (head, panels) = area.split_vertically(HEAD);
    draw_head(
        &head,
        "Callers waiting for an answer",
        "200 calls a second, a timeout of 10 s",
    )?;
    let designs = PANELS.as_flattened();
    for (panel, design) in panels.split_evenly((ROWS, 2)).iter().zip(designs) {
        let Run { record, .. } = named(runs, design);
        let figures = Figures::of(record);
        let summary = format!(
            "{} timeouts, {} errors",
            thousands(figures.paid_the_timeout),
            thousands(figures.errors),
        );
        draw_title(panel, &design.replace('`', ""), &summary)?;
        let waiting = Curve {
            points: waiting(&record.calls),
            most: 2_400,
            lines: vec![0, 1_000, 2_000],
            label: i32::to_string,
        };
        draw_curve(panel, waiting, &record.calls)?;
    }
    area.present()?;
    Ok(())
}

/// Draws how long callers wait: without a breaker, with one, and with a second provider.
pub(crate) fn draw_waits(path: &Path, runs: &[Run]) -> Drawn {
    let area = SVGBackend::new(path, (1000, 308)).into_drawing_area();
    area.fill(&WHITE)?;
    let (head, panels) = area.split_vertically(HEAD);
    draw_head(
        &head,
        "How long callers wait",
        "the longest wait of each second, with a timeout of 10 s",
    )?;
    let designs = [
        (BARE, "no breaker"),
        (PEER, "a circuit breaker"),
        (FAILOVER_CHAIN, "chain, failover_after(3 s)"),
    ];
    for (panel, (design, title)) in panels.split_evenly((1, 3)).iter().zip(designs) {
        let Run { record, .. } = named(runs, design);
        let figures = Figures::of(record);
        let summary = format!(
            "up to {}, {} errors",
            in_seconds(figures.longest_wait),
            thousands(figures.errors)
        );
        draw_title(panel, title, &summary)?;
        let waits = Curve {
            points: longest_waits(&record.calls),
            most: 11_000,
            lines: vec![0, 5_000, 10_000],
            label: |millis| format!("{} s", millis / 1_000),
        };
        draw_curve(panel, waits, &record.calls)?;
    }
    area.present()?;
    Ok(())
}

fn draw_head(head: &Area, what: &str, details: &str) -> Drawn {
    let title = text(22, FontStyle::Bold, INK);
    let plain = text(14, FontStyle::Normal, FAINT);
    head.draw_text(what, &title, (20, 16))?;
    head.draw_text(details, &plain, (20, 48))?;
    let legend = [
        (592, SHADE, "the provider hangs"),
        (802, ANSWERS, "answers"),
        (896, ERRORS, "errors"),
    ];
    for (x, colour, meaning) in legend {
        head.draw(&Rectangle::new([(x, 50), (x + 14, 62)], colour.filled()))?;
        head.draw_text(meaning, &plain, (x + 20, 48))?;
    }
    Ok(())
}

fn draw_title(panel: &Area, title: &str, summary: &str) -> Drawn {
    let name = text(16, FontStyle::Bold, INK);
    let plain = text(13, FontStyle::Normal, FAINT);
    panel.draw_text(title, &name, (LEFT, 4))?;
    panel.draw_text(summary, &plain, (LEFT, 24))?;
    Ok(())
}

/// Values by second.
struct Curve {
    points: Vec<(i32, i32)>,
    most: i32,
    /// The values that have a line and a label.
    lines: Vec<i32>,
    label: fn(&i32) -> String,
}

/// Draws the curve, and below it a strip of the answers and errors of `calls`.
fn draw_curve(panel: &Area, curve: Curve, calls: &[Call]) -> Drawn {
    let Curve {
        points,
        most,
        lines,
        label,
    } = curve;
    let strip = [-most * 14 / 100, -most * 5 / 100];
    let minutes = (0..=seconds(LASTS)).step_by(120).collect::<Vec<_>>();
    let mut chart = ChartBuilder::on(panel)
        .margin_top(46)
        .margin_right(RIGHT)
        .x_label_area_size(30)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(
            (0..seconds(LASTS)).with_key_points(minutes),
            (strip[0]..most).with_key_points(lines),
        )?;
    let block = |from, to, [low, high]: [i32; 2], colour: RGBColor| {
        Rectangle::new([(from, low), (to, high)], colour.filled())
    };

    let (start, end) = (seconds(OUTAGE.start), seconds(OUTAGE.end));
    chart.draw_series([block(start, end, [0, most], SHADE)])?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(TRANSPARENT)
        .label_style(text(12, FontStyle::Normal, FAINT))
        .x_label_formatter(&|second| format!("{}:00", second / 60))
        .y_label_formatter(&label)
        .draw()?;

    let mut below = vec![(0, 0)];
    below.extend(&points);
    below.push((seconds(LASTS), 0));
    chart.draw_series([Polygon::new(below, WAITING_FILL)])?;
    chart.draw_series([PathElement::new(points, WAITING.stroke_width(2))])?;

    for (colour, answered) in [(ANSWERS, true), (ERRORS, false)] {
        let ended = calls
            .iter()
            .filter(|call| call.answer.is_some() == answered);
        let spans = spans(ended.map(|call| seconds(call.ended())).collect());
        chart.draw_series(
            spans
                .into_iter()
                .map(|(from, to)| block(from, to, strip, colour)),
        )?;
    }
    Ok(())
}

/// The number of callers that wait at the end of each second.
fn waiting(calls: &[Call]) -> Vec<(i32, i32)> {
    let mut changes = BTreeMap::<i32, i32>::new();
    for call in calls {
        *changes.entry(seconds(call.began)).or_default() += 1;
        *changes.entry(seconds(call.ended())).or_default() -= 1;
    }
    let mut waiting = 0;
    let ends = changes.into_iter().map(|(second, change)| {
        waiting += change;
        (second + 1, waiting)
    });
    ends.take_while(|(end, _)| *end <= seconds(LASTS)).collect()
}

/// The longest wait, in milliseconds, of the calls that began in each second.
fn longest_waits(calls: &[Call]) -> Vec<(i32, i32)> {
    let mut longest = BTreeMap::<i32, i32>::new();
    for call in calls {
        let millis = i32::try_from(call.took.as_millis()).expect("seconds");
        let of_second = longest.entry(seconds(call.began)).or_default();
        *of_second = millis.max(*of_second);
    }
    longest.into_iter().collect()
}

/// Joins consecutive seconds into spans.
fn spans(mut seconds: Vec<i32>) -> Vec<(i32, i32)> {
    seconds.sort_unstable();
    seconds.dedup();
    let spans = seconds.chunk_by(|second, next| second + 1 == *next);
    spans
        .map(|span| (span[0], span[span.len() - 1] + 1))
        .collect()
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).expect("minutes")
}

/// `plotters` divides font sizes by 1.24.
pub(crate) fn text(pixels: u32, style: FontStyle, colour: RGBColor) -> TextStyle<'static> {
    let family = FontFamily::Name("Helvetica, Arial, sans-serif");
    FontDesc::new(family, f64::from(pixels) * 1.24, style).color(&colour)
}
