//! Figures as SVG: efficiency from 0 to 1, a line with marks of its own for each policy.
//!
//! Text stays text, in whatever sans-serif the reader has; its width is only estimated, so labels keep
//! a distance.

use std::ops::Range;

use anyhow::Result;
use atlas_sim::scenario::Policy;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;

use super::figure::{Figure, POLICIES, Point, name};

/// Right and down, from the upper left.
type Pixel = (i32, i32);
type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Points, RangedCoordf64>>;

/// The whole file.
pub(super) fn svg(figure: &Figure) -> Result<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (plot, below) = root.split_vertically(HEIGHT - height_below(figure));
        let mut plane: Plane<'_, '_> = ChartBuilder::on(&plot)
            .caption(&figure.title, (FONT, 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d(Points::of(figure), 0.0..1.0)?;
        plane
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_labels(figure.points.len())
            .y_label_formatter(&|y| format!("{y:.1}"))
            .x_desc(figure.axis)
            .y_desc("efficiency, T1 / (P x TP)")
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 14))
            .draw()?;
        for policy in POLICIES {
            draw_policy(&mut plane, figure, policy)?;
        }
        draw_legend(&below)?;
        let lines = note_lines(figure);
        for (line, y) in lines.iter().zip((LEGEND_HEIGHT..).step_by(NOTE_HEIGHT)) {
            below.draw_text(line, &(FONT, 12).into_text_style(&root), (LEFT, y))?;
        }
        root.present()?;
    }
    Ok(text)
}

fn draw_policy<'a, 'b: 'a>(
    plane: &mut Plane<'a, 'b>,
    figure: &Figure,
    policy: Policy,
) -> Result<()> {
    let color = color(policy);
    let wide = if policy == Policy::Atlas { 3 } else { 2 };
    let of_policy = |index: usize, point: &Point| {
        let cell = figure.cells.get(&(index, policy))?;
        Some((point.at + shift(figure, policy), cell))
    };
    let cells: Vec<_> = figure
        .points
        .iter()
        .enumerate()
        .filter_map(|(index, point)| of_policy(index, point))
        .collect();
    if figure.is_scale {
        let line = cells.iter().map(|&(at, cell)| (at, cell.efficiency));
        plane.draw_series(LineSeries::new(line, color.stroke_width(wide)))?;
    }
    let marks = cells.iter().map(|&(at, cell)| {
        let opacity = if cell.finished { 1.0 } else { PALE };
        Mark {
            at: (at, cell.efficiency),
            policy,
            color: color.mix(opacity),
        }
    });
    plane.draw_series(marks)?;
    Ok(())
}

/// One row, apart from the plot, where it covers nothing.
fn draw_legend(area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
    let places = (LEFT..).step_by(LEGEND_WIDTH);
    for (policy, x) in POLICIES.into_iter().zip(places) {
        area.draw(&Mark {
            at: (x + 6, 8),
            policy,
            color: color(policy).mix(1.0),
        })?;
        let style = (FONT, 14).into_text_style(area);
        area.draw_text(&name(policy), &style, (x + 18, 1))?;
    }
    Ok(())
}

/// A point of a policy, in a shape of its own for readers who see no colors.
struct Mark<At> {
    at: At,
    policy: Policy,
    color: RGBAColor,
}

impl<'a, At> PointCollection<'a, At> for &'a Mark<At> {
    type Point = &'a At;
    type IntoIter = std::iter::Once<&'a At>;

    fn point_iter(self) -> Self::IntoIter {
        std::iter::once(&self.at)
    }
}

impl<At, DB: DrawingBackend> Drawable<DB> for Mark<At> {
    fn draw<I: Iterator<Item = Pixel>>(
        &self,
        at: I,
        backend: &mut DB,
        _: (u32, u32),
    ) -> Result<(), plotters_backend::DrawingErrorKind<DB::ErrorType>> {
        let corners: &[Pixel] = match self.policy {
            Policy::Atlas => &[
                (-5, -3),
                (-3, -5),
                (3, -5),
                (5, -3),
                (5, 3),
                (3, 5),
                (-3, 5),
                (-5, 3),
            ],
            Policy::Random => &[(0, -6), (6, 5), (-6, 5)],
            Policy::Crs => &[(-5, -5), (5, -5), (5, 5), (-5, 5)],
            Policy::Central => &[(0, -6), (6, 0), (0, 6), (-6, 0)],
        };
        for (x, y) in at {
            let corners = corners.iter().map(|&(right, down)| (x + right, y + down));
            backend.fill_polygon(corners, &self.color.filled())?;
        }
        Ok(())
    }
}

/// From the palette of Okabe and Ito, whose colors all eyes tell apart.
fn color(policy: Policy) -> RGBColor {
    match policy {
        Policy::Atlas => RGBColor(0, 114, 178),
        Policy::Random => RGBColor(230, 159, 0),
        Policy::Crs => RGBColor(0, 158, 115),
        Policy::Central => RGBColor(204, 121, 167),
    }
}

/// Where no line joins them, the marks of one point stand beside each other.
fn shift(figure: &Figure, policy: Policy) -> f64 {
    match (figure.is_scale, policy) {
        (true, _) => 0.0,
        (false, Policy::Atlas) => -0.15,
        (false, Policy::Random) => -0.05,
        (false, Policy::Crs) => 0.05,
        (false, Policy::Central) => 0.15,
    }
}

/// The axis of a figure: a tick with its label for each point.
struct Points {
    labels: Vec<(f64, String)>,
    range: Range<f64>,
}

impl Points {
    /// The points, with a margin on both sides.
    fn of(figure: &Figure) -> Self {
        let labels = figure.points.iter();
        let labels: Vec<_> = labels
            .map(|point| (point.at, point.label.clone()))
            .collect();
        let least = labels
            .iter()
            .map(|(at, _)| *at)
            .fold(f64::INFINITY, f64::min);
        let most = labels
            .iter()
            .map(|(at, _)| *at)
            .fold(f64::NEG_INFINITY, f64::max);
        let margin = (most - least) / 10.0;
        Self {
            labels,
            range: least - margin..most + margin,
        }
    }
}

impl Ranged for Points {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, at: &f64, pixels: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(at, pixels)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.labels.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Points {
    fn format(at: &f64) -> String {
        at.to_string()
    }

    fn format_ext(&self, at: &f64) -> String {
        let near = |(place, _): &&(f64, String)| (place - at).abs() < 1e-9;
        let label = self.labels.iter().find(near);
        label.map_or_else(|| Self::format(at), |(_, label)| label.clone())
    }
}

fn note_lines(figure: &Figure) -> Vec<String> {
    let mut lines = vec![figure.world.clone()];
    lines.extend(figure.notes());
    lines
}

fn height_below(figure: &Figure) -> i32 {
    let lines = (LEGEND_HEIGHT..).step_by(NOTE_HEIGHT);
    lines.take(note_lines(figure).len() + 1).last().unwrap_or(0) + 6
}

const SIZE: (u32, u32) = (760, HEIGHT.unsigned_abs());
const HEIGHT: i32 = 480;
const LEFT: i32 = 64;
const LEGEND_HEIGHT: i32 = 26;
const LEGEND_WIDTH: usize = 110;
const NOTE_HEIGHT: usize = 16;
const FONT: &str = "sans-serif";
const GRID: RGBColor = RGBColor(220, 220, 220);
/// How much color the mark of a job that was given up has.
const PALE: f64 = 0.3;
