//! Curves in text: each character is two dots wide and four high.

use super::series::{Series, bounds};
use crate::ui::{pad, score, width as text_width};

const HEIGHT: usize = 14;
const BLANK: u32 = 0x2800;
/// Of a dot in its character, by row and column.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
const COLORS: [&str; 6] = ["36", "33", "35", "32", "34", "31"];
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SPARKS: usize = 24;

/// The colour of the curve at a place.
pub(super) fn color(place: usize) -> &'static str {
    COLORS[place % COLORS.len()]
}

/// The curves over each other, with the ends of both axes.
pub(super) fn chart(all: &[Series], width: usize, paint: impl Fn(&str, &str) -> String) -> Vec<String> {
    let [(left, right), (low, high)] = bounds(all);
    let (top, bottom) = (score(high), score(low));
    let margin = text_width(&top).max(text_width(&bottom)) + 1;
    let columns = width.saturating_sub(margin + 1).max(10);
    let mut cells = vec![vec![(0_u32, 0_usize); columns]; HEIGHT];
    let dot =
        |value: f64, low: f64, high: f64, last: usize| ((value - low) / (high - low) * last as f64).round() as usize;
    for (place, series) in all.iter().enumerate() {
        let spots: Vec<(usize, usize)> = series
            .points
            .iter()
            .map(|(x, y)| (dot(*x, left, right, columns * 2 - 1), dot(high + low - y, low, high, HEIGHT * 4 - 1)))
            .collect();
        let ends = spots.iter().zip(spots.iter().skip(1).chain(spots.last()));
        for ((x, y), (to_x, to_y)) in ends {
            // Between two points the line is drawn dot by dot along its longer side.
            let steps = x.abs_diff(*to_x).max(y.abs_diff(*to_y)).max(1);
            for step in 0..=steps {
                let between = |a: usize, b: usize| {
                    (a as f64 + (b as f64 - a as f64) * step as f64 / steps as f64).round() as usize
                };
                let (x, y) = (between(*x, *to_x), between(*y, *to_y));
                let cell = &mut cells[y / 4][x / 2];
                *cell = (cell.0 | DOTS[y % 4][x % 2], place);
            }
        }
    }
    let mut lines: Vec<String> = cells
        .iter()
        .enumerate()
        .map(|(row, cells)| {
            let label = if row == 0 {
                &top
            } else if row + 1 == HEIGHT {
                &bottom
            } else {
                ""
            };
            let dots = cells.iter().map(|(dots, place)| {
                let character = char::from_u32(BLANK + dots).unwrap_or(' ').to_string();
                if *dots == 0 { " ".to_owned() } else { paint(&character, color(*place)) }
            });
            format!("{}│{}", pad(label, margin), dots.collect::<String>()).trim_end().to_owned()
        })
        .collect();
    lines.push(format!("{}└{}", " ".repeat(margin), "─".repeat(columns)));
    let (left, right) = (left.to_string(), right.to_string());
    let gap = columns.saturating_sub(left.len() + right.len());
    lines.push(format!("{}{left}{}{right}", " ".repeat(margin + 1), " ".repeat(gap)));
    lines
}

/// One curve in a few characters.
pub(super) fn sparkline(series: &Series) -> String {
    let [_, (low, high)] = bounds(std::slice::from_ref(series));
    let points = &series.points;
    let shown = points.len().min(SPARKS);
    (0..shown)
        .map(|place| {
            let (_, value) = points[place * (points.len() - 1) / (shown - 1).max(1)];
            BARS[((value - low) / (high - low) * (BARS.len() - 1) as f64).round() as usize]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, value: impl Fn(f64) -> f64) -> Series {
        Series { name: name.into(), points: (0..=50).map(|step| (f64::from(step), value(f64::from(step)))).collect() }
    }

    #[test]
    fn curves_are_drawn_over_each_other() {
        let all = [series("a", |step| 3.0 * (-step / 12.0).exp()), series("b", |step| 1.0 + step / 50.0)];
        insta::assert_snapshot!(chart(&all, 60, |text, _| text.to_owned()).join("\n"));
        assert_eq!(all.each_ref().map(sparkline), ["█▇▆▅▅▄▃▃▃▂▂▂▂▂▁▁▁▁▁▁▁▁▁▁", "▁▁▂▂▂▂▃▃▃▄▄▄▅▅▅▅▆▆▆▇▇▇██"]);
    }

    #[test]
    fn a_single_point_and_a_flat_line_are_drawn_too() {
        let one = Series { name: "a".into(), points: vec![(3.0, 2.0)] };
        assert_eq!(chart(std::slice::from_ref(&one), 0, |text, _| text.to_owned()).len(), HEIGHT + 2);
        assert_eq!(sparkline(&one).chars().count(), 1);
        assert_eq!(chart(&[series("flat", |_| 1.0)], 40, |text, _| text.to_owned()).len(), HEIGHT + 2);
    }
}
