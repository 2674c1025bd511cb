//! Draws how many callers wait for an answer, and what they get.

use std::{collections::BTreeMap, error::Error, path::Path, time::Duration};

use plotters::{
    coord::{Shift, combinators::BindKeyPoints},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    designs::Run,
    figures::Figures,
    simulation::{Call, LASTS},
    table::thousands,
    world::OUTAGE,
};

const SIZE: (u32, u32) = (1000, 800);
const HEAD: u32 = 84;
const ROWS: usize = 4;
const LEFT: i32 = 60;
const RIGHT: i32 = 24;

const MOST_WAITING: i32 = 2_400;
/// The strip below the axis, which shows answers and errors.
const STRIP: [i32; 2] = [-330, -110];

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

/// Draws one panel per design: other designs on the left, this crate on the right.
pub(crate) fn draw(path: &Path, runs: &[Run]) -> Drawn {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (head, panels) = area.split_vertically(HEAD);
    draw_head(&head)?;
    for (index, panel) in panels.split_evenly((ROWS, 2)).iter().enumerate() {
        let (row, column) = (index / 2, index % 2);
        draw_panel(panel, &runs[column * ROWS + row])?;
    }
    area.present()?;
    Ok(())
}

fn draw_head(head: &Area) -> Drawn {
    let title = text(22, FontStyle::Bold, INK);
    let plain = text(14, FontStyle::Normal, FAINT);
    head.draw_text("Callers waiting for an answer", &title, (20, 16))?;
    head.draw_text("200 calls a second, a timeout of 10 s", &plain, (20, 48))?;
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

fn draw_panel(panel: &Area, run: &Run) -> Drawn {
    draw_title(panel, run)?;

    let minutes = (0..=seconds(LASTS)).step_by(60).collect::<Vec<_>>();
    let mut chart = ChartBuilder::on(panel)
        .margin_top(28)
        .margin_right(RIGHT)
        .x_label_area_size(30)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(
            (0..seconds(LASTS)).with_key_points(minutes),
            (STRIP[0]..MOST_WAITING).with_key_points(vec![0, 1_000, 2_000]),
        )?;
    let block = |from, to, [low, high]: [i32; 2], colour: RGBColor| {
        Rectangle::new([(from, low), (to, high)], colour.filled())
    };

    let (start, end) = (seconds(OUTAGE.start), seconds(OUTAGE.end));
    chart.draw_series([block(start, end, [0, MOST_WAITING], SHADE)])?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(TRANSPARENT)
        .label_style(text(12, FontStyle::Normal, FAINT))
        .x_label_formatter(&|second| format!("{}:00", second / 60))
        .draw()?;

    let waiting = waiting(&run.calls);
    let mut below = vec![(0, 0)];
    below.extend(&waiting);
    below.push((seconds(LASTS), 0));
    chart.draw_series([Polygon::new(below, WAITING_FILL)])?;
    chart.draw_series([PathElement::new(waiting, WAITING.stroke_width(2))])?;

    for (colour, answered) in [(ANSWERS, true), (ERRORS, false)] {
        let ended = run
            .calls
            .iter()
            .filter(|call| call.answer.is_some() == answered);
        let spans = spans(ended.map(|call| seconds(call.ended())).collect());
        chart.draw_series(
            spans
                .into_iter()
                .map(|(from, to)| block(from, to, STRIP, colour)),
        )?;
    }
    Ok(())
}

fn draw_title(panel: &Area, run: &Run) -> Drawn {
    let figures = Figures::of(&run.calls);
    let summary = format!(
        "{} timeouts, {} errors",
        thousands(figures.paid_the_timeout),
        thousands(figures.errors),
    );
    let width = i32::try_from(panel.dim_in_pixel().0)?;
    let to_the_left = Pos::new(HPos::Right, VPos::Top);
    let name = text(16, FontStyle::Bold, INK);
    let plain = text(13, FontStyle::Normal, FAINT).pos(to_the_left);
    panel.draw_text(run.design, &name, (LEFT, 4))?;
    panel.draw_text(&summary, &plain, (width - RIGHT, 6))?;
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
