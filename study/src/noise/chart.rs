//! Draws the errors that callers see, and how many failures open each breaker after that.

use std::path::Path;

use plotters::{coord::combinators::BindKeyPoints, prelude::*};

use super::{
    cost::Cost,
    designs::DESIGNS,
    loads::{Load, RATES, SHARES},
    traffic::MOST_FAILURES,
};
use crate::{
    chart::{Area, Drawn, FAINT, GRID, INK, text},
    table::thousands,
};

const SIZE: (u32, u32) = (1000, 560);
const HEAD: u32 = 76;
const COLOURS: [RGBColor; DESIGNS.len()] = [
    RGBColor(222, 165, 74),
    RGBColor(140, 149, 159),
    RGBColor(66, 113, 174),
    RGBColor(118, 185, 121),
];

const BAR: usize = 2;
/// The bars of all designs, and the gap to the next.
const GROUP: usize = (DESIGNS.len() + 1) * BAR;

/// The measure that a bar's height shows.
struct Measure {
    of: fn(&Load, &Cost) -> f64,
    top: f64,
    label: fn(&f64) -> String,
}

const ERRORS: Measure = Measure {
    of: |load, cost| f64::from(cost.errors) / f64::from(load.without),
    top: 4.5,
    label: |times| format!("{times} ×"),
};

/// On a logarithmic scale.
const FAILURES: Measure = Measure {
    of: |_, cost| f64::from(cost.failures_to_open.unwrap_or(MOST_FAILURES)).log10(),
    top: 3.2,
    label: |power| format!("{:.0}", 10_f64.powf(*power)),
};

/// Draws a column of panels for each rate of calls.
pub(crate) fn draw(path: &Path, loads: &[Load]) -> Drawn {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (head, rows) = area.split_vertically(HEAD);
    draw_head(&head)?;
    let (errors, failures) = rows.split_vertically((SIZE.1 - HEAD) / 2);
    draw_row(
        &errors,
        "errors, as a multiple of those without a breaker",
        &ERRORS,
        loads,
    )?;
    draw_row(
        &failures,
        "failures in a row that open it, if the provider then goes down",
        &FAILURES,
        loads,
    )?;
    area.present()?;
    Ok(())
}

fn draw_head(head: &Area) -> Drawn {
    let title = text(22, FontStyle::Bold, INK);
    let plain = text(14, FontStyle::Normal, FAINT);
    head.draw_text("Random errors", &title, (20, 16))?;
    head.draw_text(
        "ten minutes, by the share of calls that fail by chance",
        &plain,
        (20, 48),
    )?;
    let lefts = [500, 588, 730, 850];
    for ((x, colour), (name, _)) in lefts.into_iter().zip(COLOURS).zip(DESIGNS) {
        head.draw(&Rectangle::new([(x, 50), (x + 14, 62)], colour.filled()))?;
        head.draw_text(&name.replace('`', ""), &plain, (x + 20, 48))?;
    }
    Ok(())
}

fn draw_row(row: &Area, title: &str, measure: &Measure, loads: &[Load]) -> Drawn {
    row.draw_text(title, &text(14, FontStyle::Bold, INK), (20, 6))?;
    let panels = row.margin(24, 0, 0, 0).split_evenly((1, RATES.len()));
    for (panel, loads) in panels.iter().zip(loads.chunks(SHARES.len())) {
        draw_panel(panel, measure, loads)?;
    }
    Ok(())
}

fn draw_panel(panel: &Area, measure: &Measure, loads: &[Load]) -> Drawn {
    let rate = format!("{} calls/s", thousands(loads[0].per_second as usize));
    panel.draw_text(&rate, &text(13, FontStyle::Normal, FAINT), (60, 6))?;

    let groups = (0..).step_by(GROUP).take(loads.len());
    let middles = groups.clone().map(|left| left + GROUP / 2).collect();
    let mut chart = ChartBuilder::on(panel)
        .margin_top(26)
        .margin_right(12)
        .x_label_area_size(30)
        .y_label_area_size(52)
        .build_cartesian_2d(
            (0..GROUP * loads.len()).with_key_points(middles),
            0.0..measure.top,
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(TRANSPARENT)
        .label_style(text(12, FontStyle::Normal, FAINT))
        .x_label_formatter(&|middle| format!("{} %", 100.0 * loads[middle / GROUP].failing))
        .y_labels(5)
        .y_label_formatter(&measure.label)
        .draw()?;

    for (design, colour) in COLOURS.into_iter().enumerate() {
        let first = BAR / 2 + BAR * design;
        chart.draw_series(groups.clone().zip(loads).map(|(group, load)| {
            let left = group + first;
            let height = (measure.of)(load, &load.with[design]);
            Rectangle::new([(left, 0.0), (left + BAR, height)], colour.filled())
        }))?;
    }
    Ok(())
}
