//! Draws the cost of an outage by the number of replicas.

use std::path::Path;

use plotters::prelude::*;

use super::{Sharing, Sizes, simulation::Figures, table::count};
use crate::chart::{Area, Drawn, FAINT, GRID, INK, text};

const SIZE: (u32, u32) = (1000, 360);
const HEAD: u32 = 76;
const COLOURS: [RGBColor; Sharing::ALL.len()] = [
    RGBColor(140, 149, 159),
    RGBColor(66, 113, 174),
    RGBColor(222, 165, 74),
    RGBColor(118, 185, 121),
];

/// One panel: its title, and the figure that it shows.
type Panel = (&'static str, fn(&Figures) -> f64);

const PANELS: [Panel; 3] = [
    ("calls that waited for the timeout", |it| it.paid),
    ("trials during the outage", |it| it.trials),
    ("checks a minute", |it| it.checks_per_minute),
];

/// Draws a panel for each figure, on logarithmic scales.
pub(crate) fn draw(path: &Path, sizes: &Sizes) -> Drawn {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (head, panels) = area.split_vertically(HEAD);
    head.draw_text(
        "An outage of three minutes, by number of replicas",
        &text(22, FontStyle::Bold, INK),
        (20, 16),
    )?;
    for (index, (sharing, colour)) in Sharing::ALL.iter().zip(COLOURS).enumerate() {
        let x = 24 + 130 * i32::try_from(index)?;
        let plain = text(14, FontStyle::Normal, FAINT);
        head.draw(&Rectangle::new([(x, 52), (x + 14, 64)], colour.filled()))?;
        head.draw_text(&sharing.name().replace('`', ""), &plain, (x + 20, 50))?;
    }
    for (panel, figure) in panels.split_evenly((1, PANELS.len())).iter().zip(PANELS) {
        draw_panel(panel, figure, sizes)?;
    }
    area.present()?;
    Ok(())
}

fn draw_panel(panel: &Area, (title, figure): Panel, sizes: &Sizes) -> Drawn {
    let name = text(15, FontStyle::Bold, INK);
    panel.draw_text(title, &name, (54, 4))?;
    let mut chart = ChartBuilder::on(panel)
        .margin_top(30)
        .margin_right(16)
        .x_label_area_size(28)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..3.0, 0.0..4.0)?;
    let label = |power: &f64| count(10_f64.powf(*power));
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(4)
        .y_labels(5)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style(text(12, FontStyle::Normal, FAINT))
        .draw()?;
    for (index, colour) in COLOURS.into_iter().enumerate() {
        let points: Vec<_> = sizes
            .iter()
            .map(|(replicas, runs)| {
                // Zero has no logarithm, so it is drawn as one.
                let value = figure(&runs[index].1).max(1.0);
                (f64::from(*replicas).log10(), value.log10())
            })
            .collect();
        let line = PathElement::new(points.clone(), colour.stroke_width(3));
        chart.draw_series([line])?;
        let dots = points
            .into_iter()
            .map(|at| Circle::new(at, 4, colour.filled()));
        chart.draw_series(dots)?;
    }
    Ok(())
}
