use std::path::Path;

use miette::miette;
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};

use super::series::{Series, bounds};
use crate::{exit_code::ExitCode, failure::Failure};

const SIZE: (u32, u32) = (1000, 560);
/// One that SVG viewers know too; for the PNG it is built in, so that no font has to be installed.
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(38, 42, 51);
const GRID: RGBColor = RGBColor(226, 229, 234);
const COLORS: [RGBColor; 6] = [
    RGBColor(52, 101, 164),
    RGBColor(204, 82, 0),
    RGBColor(117, 80, 123),
    RGBColor(78, 154, 6),
    RGBColor(196, 160, 0),
    RGBColor(164, 0, 0),
];

/// Draws curves over each other into a file, as its name's end says.
pub(super) fn draw(all: &[Series], metric: &str, to: &Path) -> Result<(), Failure> {
    let failed = |reason: String| Failure {
        code: ExitCode::Engine,
        report: miette!(code = "plot::failed", "{} could not be drawn: {reason}", to.display()),
    };
    for style in [FontStyle::Normal, FontStyle::Bold] {
        register_font(FONT, style, dejavu::sans::regular())
            .map_err(|_| failed("the built-in font is damaged".into()))?;
    }
    match to.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => draw_on(&SVGBackend::new(to, SIZE).into_drawing_area(), all, metric).map_err(failed),
        Some("png") => draw_on(&BitMapBackend::new(to, SIZE).into_drawing_area(), all, metric).map_err(failed),
        _ => Err(Failure::usage(miette!(
            code = "plot::format",
            help = "end the name in `.svg` or `.png`",
            "`{}` is no name of a picture",
            to.display()
        ))),
    }
}

fn draw_on<B: DrawingBackend>(area: &DrawingArea<B, Shift>, all: &[Series], metric: &str) -> Result<(), String> {
    let failed = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    let [(left, right), (low, high)] = bounds(all);
    let room = (high - low) * 0.05;
    area.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(area)
        .margin(18)
        .caption(metric, (FONT, 24, FontStyle::Bold, &INK))
        .x_label_area_size(48)
        .y_label_area_size(66)
        .build_cartesian_2d(left..right, low - room..high + room)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc(metric)
        .axis_desc_style((FONT, 16, &INK))
        .label_style((FONT, 14, &INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (place, series) in all.iter().enumerate() {
        let color = COLORS[place % COLORS.len()];
        chart
            .draw_series(LineSeries::new(series.points.iter().copied(), color.stroke_width(2)))
            .map_err(failed)?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(12)
        .label_font((FONT, 15, &INK))
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .draw()
        .map_err(failed)?;
    area.present().map_err(failed)
}
