use std::{ops::Range, path::Path};

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::{
        FontStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};
use refit_engine::stage::StageError;
use refit_llm::train::HistoryRow;

const PNG: &str = "curve.png";
const SVG: &str = "curve.svg";
const SIZE: (u32, u32) = (1000, 560);
/// What a training on preferences needs below the loss.
const REWARDS_HEIGHT: u32 = 420;
/// One that SVG viewers know too; for the PNG it is built in, so that no font has to be installed.
const FONT: &str = "sans-serif";

const INK: RGBColor = RGBColor(38, 42, 51);
const GRID: RGBColor = RGBColor(226, 229, 234);
const TRAINING: RGBColor = RGBColor(52, 101, 164);
const VALIDATION: RGBColor = RGBColor(204, 82, 0);
const TURN: RGBColor = RGBColor(150, 30, 60);
const CHOSEN: RGBColor = RGBColor(38, 127, 72);
const REJECTED: RGBColor = RGBColor(176, 42, 48);

/// A panel with its two axes.
type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws the loss over the steps as `curve.png` and `curve.svg` into an existing folder; of a training on preferences the
/// rewards of chosen and rejected answers below it.
pub(super) fn draw(history: &[HistoryRow], folder: &Path) -> Result<(), StageError> {
    let failed = |reason: String| StageError::new("train::curve", "the loss curve could not be drawn").help(reason);
    // Plotters keeps fonts for the whole process; registering one again replaces it by itself.
    for style in [FontStyle::Normal, FontStyle::Bold] {
        register_font(FONT, style, dejavu::sans::regular())
            .map_err(|_| failed("the built-in font is damaged".into()))?;
    }
    let (png, svg) = (folder.join(PNG), folder.join(SVG));
    let size = if has_rewards(history) { (SIZE.0, SIZE.1 + REWARDS_HEIGHT) } else { SIZE };
    draw_on(&BitMapBackend::new(&png, size).into_drawing_area(), history).map_err(failed)?;
    draw_on(&SVGBackend::new(&svg, size).into_drawing_area(), history).map_err(failed)
}

fn has_rewards(history: &[HistoryRow]) -> bool {
    history.iter().any(|row| row.preference.chosen_reward.or(row.preference.rejected_reward).is_some())
}

fn draw_on<B: DrawingBackend>(area: &DrawingArea<B, Shift>, history: &[HistoryRow]) -> Result<(), String> {
    let failed = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    area.fill(&WHITE).map_err(failed)?;
    let (upper, lower) = area.split_vertically(SIZE.1);
    draw_loss(&upper, history)?;
    if has_rewards(history) {
        draw_rewards(&lower, history)?;
    }
    area.present().map_err(failed)
}

fn draw_loss<B: DrawingBackend>(area: &DrawingArea<B, Shift>, history: &[HistoryRow]) -> Result<(), String> {
    let failed = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    let training: Vec<(f64, f64)> = history.iter().map(|row| (row.step as f64, row.loss)).collect();
    let smooth = smoothed(&training);
    let validation: Vec<(f64, f64)> =
        history.iter().filter_map(|row| Some((row.step as f64, row.validation_loss?))).collect();
    let last = training.last().map_or(1.0, |(step, _)| *step);
    let highest = training.iter().chain(&validation).map(|(_, loss)| *loss).fold(0.0, f64::max);
    let top = if highest > 0.0 { highest * 1.06 } else { 1.0 };
    let what = if has_rewards(history) { "mean loss" } else { "mean loss per target (nats)" };
    let mut chart = panel(area, "Loss", what, last, 0.0..top)?;
    chart.draw_series(LineSeries::new(training, TRAINING.mix(0.28).stroke_width(1))).map_err(failed)?;
    chart
        .draw_series(LineSeries::new(smooth, TRAINING.stroke_width(3)))
        .map_err(failed)?
        .label("training (smoothed)")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], TRAINING.stroke_width(3)));
    if !validation.is_empty() {
        chart
            .draw_series(LineSeries::new(validation.clone(), VALIDATION.stroke_width(3)))
            .map_err(failed)?
            .label("validation")
            .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], VALIDATION.stroke_width(3)));
        chart
            .draw_series(validation.iter().map(|point| Circle::new(*point, 5, VALIDATION.filled())))
            .map_err(failed)?;
    }
    if let Some((step, loss)) = turn(&validation) {
        chart
            .draw_series(DashedLineSeries::new([(step, 0.0), (step, top)], 6, 5, TURN.stroke_width(2)))
            .map_err(failed)?;
        // The words stay inside the picture whichever side the mark is on.
        let (anchor, shift) = if step < last * 0.6 { (HPos::Left, 10) } else { (HPos::Right, -10) };
        let words = format!("validation turns up after step {step:.0} (lowest {loss:.3})");
        let style = (FONT, 15, &TURN).into_text_style(area).pos(Pos::new(anchor, VPos::Top));
        chart
            .draw_series(std::iter::once(EmptyElement::at((step, top)) + Text::new(words, (shift, 8), style)))
            .map_err(failed)?;
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// Where both fall, the model forgets chosen and rejected answers alike, which the loss does not show.
fn draw_rewards<B: DrawingBackend>(area: &DrawingArea<B, Shift>, history: &[HistoryRow]) -> Result<(), String> {
    let failed = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    let rewards = |of: fn(&HistoryRow) -> Option<f64>| -> Vec<(f64, f64)> {
        history.iter().filter_map(|row| Some((row.step as f64, of(row)?))).collect()
    };
    let chosen = rewards(|row| row.preference.chosen_reward);
    let rejected = rewards(|row| row.preference.rejected_reward);
    let values = || chosen.iter().chain(&rejected).map(|(_, reward)| *reward);
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let space = if high > low { (high - low) * 0.06 } else { 1.0 };
    let last = history.last().map_or(1.0, |row| row.step as f64);
    let mut chart = panel(area, "Rewards", "mean reward (β · ln p)", last, low - space..high + space)?;
    for (points, color, name) in [(chosen, CHOSEN, "chosen (smoothed)"), (rejected, REJECTED, "rejected (smoothed)")] {
        let smooth = smoothed(&points);
        chart.draw_series(LineSeries::new(points, color.mix(0.28).stroke_width(1))).map_err(failed)?;
        chart
            .draw_series(LineSeries::new(smooth, color.stroke_width(3)))
            .map_err(failed)?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], color.stroke_width(3)));
    }
    legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

/// Axes over the steps.
fn panel<'a, B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    caption: &str,
    what: &str,
    last: f64,
    range: Range<f64>,
) -> Result<Chart<'a, B>, String> {
    let failed = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    let mut chart = ChartBuilder::on(area)
        .margin(18)
        .caption(caption, (FONT, 24, FontStyle::Bold, &INK))
        .x_label_area_size(48)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..last.max(1.0), range)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("optimizer step")
        .y_desc(what)
        .x_labels(10)
        .y_labels(8)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| format!("{:.2}", if value.abs() < 0.005 { 0.0 } else { *value }))
        .axis_desc_style((FONT, 16, &INK))
        .label_style((FONT, 14, &INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    Ok(chart)
}

fn legend<'a, B: DrawingBackend + 'a>(chart: &mut Chart<'a, B>, at: SeriesLabelPosition) -> Result<(), String> {
    chart
        .configure_series_labels()
        .position(at)
        .margin(12)
        .label_font((FONT, 15, &INK))
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .draw()
        .map_err(|error| error.to_string())
}

/// A running mean over about a twentieth of the steps, so that the trend shows through the noise of small batches.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = points.len() / 40;
    (0..points.len())
        .map(|at| {
            let window = &points[at.saturating_sub(reach)..(at + reach + 1).min(points.len())];
            (points[at].0, window.iter().map(|(_, loss)| loss).sum::<f64>() / window.len() as f64)
        })
        .collect()
}

/// The lowest validation loss, if the last one is higher: from there on the model learnt its rows by heart.
fn turn(validation: &[(f64, f64)]) -> Option<(f64, f64)> {
    let lowest = validation.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let (_, end) = *validation.last()?;
    (end > lowest.1).then_some(lowest)
}

#[cfg(test)]
mod tests {
    use refit_llm::train::PreferenceMetrics;

    use super::*;

    fn history() -> Vec<HistoryRow> {
        (1..=120)
            .map(|step| {
                let x = step as f64 / 120.0;
                let noise = ((step * 7919) % 13) as f64 / 13.0 - 0.5;
                HistoryRow {
                    step,
                    epoch: x * 4.0,
                    loss: 3.2 * (-3.0 * x).exp() + 0.25 + 0.3 * noise * (1.0 - 0.7 * x),
                    validation_loss: (step % 15 == 0).then(|| 2.6 * (-4.0 * x).exp() + 0.7 + 0.5 * x * x),
                    learning_rate: 1e-4,
                    tokens: step * 400,
                    seconds: step as f64,
                    preference: PreferenceMetrics::default(),
                }
            })
            .collect()
    }

    #[test]
    fn both_pictures_are_drawn_with_the_mark() {
        let folder = tempfile::tempdir().unwrap();
        draw(&history(), folder.path()).unwrap();
        let svg = fs_err::read_to_string(folder.path().join(SVG)).unwrap();
        for words in ["optimizer step", "mean loss per target", "training", "validation turns up after step 75"] {
            assert!(svg.contains(words), "{words}");
        }
        let png = fs_err::read(folder.path().join(PNG)).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        assert!(png.len() > 10_000, "the text and the lines are there");
        if let Some(keep) = std::env::var_os("REFIT_KEEP_PICTURES") {
            fs_err::copy(folder.path().join(PNG), Path::new(&keep).join(PNG)).unwrap();
        }
    }

    #[test]
    fn one_step_and_no_validation_can_be_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let mut row = history().remove(0);
        row.validation_loss = None;
        draw(&[row], folder.path()).unwrap();
    }

    #[test]
    fn rewards_are_drawn_below_the_loss() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = history();
        for row in &mut history {
            let x = row.step as f64 / 120.0;
            row.preference.chosen_reward = Some(0.4 * x - 0.9 * x * x);
            row.preference.rejected_reward = Some(-2.0 * x);
        }
        draw(&history, folder.path()).unwrap();
        let svg = fs_err::read_to_string(folder.path().join(SVG)).unwrap();
        for words in ["Rewards", "chosen (smoothed)", "rejected (smoothed)", "training (smoothed)"] {
            assert!(svg.contains(words), "{words}");
        }
        if let Some(keep) = std::env::var_os("REFIT_KEEP_PICTURES") {
            fs_err::copy(folder.path().join(PNG), Path::new(&keep).join("rewards.png")).unwrap();
        }
    }

    #[test]
    fn a_loss_that_keeps_falling_has_no_turn() {
        assert_eq!(turn(&[(1.0, 3.0), (2.0, 2.0)]), None);
        assert_eq!(turn(&[(1.0, 3.0), (2.0, 2.0), (3.0, 2.5)]), Some((2.0, 2.0)));
        assert_eq!(turn(&[]), None);
    }
}
